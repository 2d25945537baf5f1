"""Constant labels: training refuses them, and scores on them cause a warning."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.laboratory import BlobPair, Blobs, BlobStream
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError
from tl_lab.problems import MultiLabel, Regression, SingleLabel


@pytest.mark.parametrize(
    ("problem", "y", "expected"),
    [
        (SingleLabel(["a", "b"]), torch.tensor([1, 1, 1]), "the class 'b'"),
        (SingleLabel(["a", "b"]), torch.tensor([1, 0, 1]), None),
        (MultiLabel(["a", "b"]), torch.tensor([[1, 0], [1, 0]]), "the same labels"),
        (MultiLabel(["a", "b"]), torch.tensor([[1, 0], [1, 1]]), None),
        (Regression(["a"]), torch.tensor([[0.5], [0.5]]), "the same labels"),
        (Regression(["a", "b"]), torch.tensor([[0.5, 1.0], [0.5, 2.0]]), None),
    ],
)
def test_labels_that_are_all_the_same_are_named(problem, y, expected) -> None:
    assert problem.alike(y) == expected


def only(samples: Samples, label: int) -> Samples:
    return samples.subset((samples.y == label).nonzero()[:, 0])


class _One(Blobs):
    """Blobs of which one part has a single class."""

    def __init__(self, part: str, **options) -> None:
        super().__init__(**options)
        self.part = part

    def read(self) -> dict[str, Samples]:
        sets = super().read()
        return sets | {self.part: only(sets[self.part], 2)}


def test_training_on_one_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"the set 'train' has the class 'c' in every sample, so there is nothing"):
        _One("train").load()


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_score_on_one_class_is_warned_of(part: str) -> None:
    with pytest.warns(UserWarning, match=rf"the set '{part}' has the class 'c' in every sample: a constant prediction"):
        _One(part).load()


class _Without(Blobs):
    """Blobs whose training set lacks two of the three classes, and whose validation set lacks one of these."""

    def read(self) -> dict[str, Samples]:
        sets = super().read()
        kept = {"train": [0], "val": [0, 2], "test": [0, 1, 2]}
        return {
            name: one.subset(torch.isin(one.y, torch.tensor(kept[name])).nonzero()[:, 0]) for name, one in sets.items()
        }


def test_classes_without_a_training_sample_are_warned_of(monkeypatch) -> None:
    monkeypatch.setattr("tl_lab.data.base.one_class_refused", lambda: False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _Without().load()
    said = [str(one.message) for one in caught if "cannot be learned" in str(one.message)]
    assert said == ["train has no sample of b, c, which occur in val and test: they cannot be learned from it"]


class _SourceWithoutOne(BlobPair):
    def read(self) -> dict[str, Samples]:
        sets = super().read()
        kept = (sets["source/train"].y != 1).nonzero()[:, 0]
        return sets | {"source/train": sets["source/train"].subset(kept)}


@pytest.mark.parametrize("reveals", [False, True])
def test_an_oracle_learns_the_classes_of_the_target(reveals: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _SourceWithoutOne().load(Request(reveals_target=reveals))
    said = [str(one.message) for one in caught if "cannot be learned" in str(one.message)]
    assert [text.startswith("source/train has no sample of b,") for text in said] == ([] if reveals else [True])


def test_labels_that_no_training_sample_has_are_warned_of(tmp_path: Path) -> None:
    rows = [("red", 1, 0)] * 4 + [("blue", 0, 0)] * 4 + [("green", 0, 1)] * 2
    lines = [f"{day},{word} {day},{a},{b}" for day, (word, a, b) in enumerate(rows)]
    (tmp_path / "rows.csv").write_text("\n".join(["day,text,a,b", *lines]))
    data = TextTable(path=str(tmp_path / "rows.csv"), label_column=["a", "b"], time_column="day", split="time")
    with pytest.warns(UserWarning, match=r"^train has no sample of b, which occur in test: they cannot be learned"):
        data.load()


class _OneTarget(BlobPair):
    def read(self) -> dict[str, Samples]:
        sets = super().read()
        return sets | {"target/train": replace(only(sets["target/train"], 0), y=None)}


class _OneClassATask(BlobStream):
    def read_tasks(self) -> list[dict[str, Samples]]:
        return [{name: only(samples, 0) for name, samples in sets.items()} for sets in super().read_tasks()]


@pytest.mark.parametrize("data", [Blobs(), _OneTarget(), _OneClassATask()])
def test_what_has_several_classes_no_labels_or_tasks_of_one_class_is_no_mistake(data) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load()


def test_a_folder_with_one_class_folder_is_refused(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "cat").mkdir()
    for number in range(12):
        Image.fromarray(draw.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / "cat" / f"{number}.png")
    with pytest.raises(UserError, match=r"the set 'train' has the class 'cat' in every sample"):
        ImageFolder(root=str(tmp_path)).load()
