"""Small images for a network of large ones: batches of evaluation are smaller, and large sets stay as they are."""

from collections.abc import Sequence

import pytest
import torch

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.samples import Samples

LARGE = ImageSpec((32, 32), 3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))


class Small(DataModule):
    """Sixty grey images of 8x8 pixels."""

    def read(self) -> dict[str, Samples]:
        self.class_names = ["a", "b"]
        x = torch.randint(0, 256, (60, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        y = torch.arange(60) % 2
        parts: dict[str, Sequence[int]] = {"train": range(20), "val": range(20, 30), "test": range(30, 60)}
        return {name: Samples(x[list(index)], y[list(index)]) for name, index in parts.items()}


def prepared(spec: ImageSpec = LARGE) -> Small:
    data = Small(eval_batch_size=25, batch_size=4)
    data.load()
    data.use(spec)
    return data


def served(data: Small) -> list[torch.Tensor]:
    return [batch.x for batch in data.loader("test")]


def test_a_batch_of_enlarged_images_is_smaller_and_the_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    as_given = served(prepared())
    assert [len(x) for x in as_given] == [15, 15]  # equally large batches of at most 25
    monkeypatch.setattr("tl_lab.data.base._AT_ONCE", 3 * 32 * 32 * 8)
    data = prepared()
    assert data.evaluated_at_once == 8
    assert any("in batches of 8, because images are enlarged" in note for note in data.notes)
    assert [len(x) for x in served(data)] == [8, 8, 7, 7]
    assert torch.equal(torch.cat(served(data)), torch.cat(as_given))
    assert len(next(iter(data.train_loader("train"))).x) == 4


def test_what_is_not_enlarged_is_evaluated_as_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_lab.data.base._AT_ONCE", 8)
    data = prepared(ImageSpec((8, 8), 1))
    assert data.evaluated_at_once == 25
    assert len(served(data)) == 2


def test_images_that_are_too_many_once_enlarged_stay_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = prepared()
    assert at_once.sets["test"].x.shape == (30, 3, 32, 32)
    monkeypatch.setattr("tl_lab.data.base._READY_BYTES", 4 * 3 * 32 * 32 * 15)  # more than 60 grey images of 8x8
    data = prepared()
    assert data.sets["test"].x.dtype == torch.uint8
    assert data.sets["val"].x.shape == (10, 3, 32, 32)
    torch.testing.assert_close(torch.cat(served(data)), torch.cat(served(at_once)))
