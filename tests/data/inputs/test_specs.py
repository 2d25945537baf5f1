"""Input specifications of backbones: preparation, description, refusal, and checkpoints."""

import pytest
import torch

from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.spec import spec_from
from tl_lab.data.inputs.table import TableSpec
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.errors import UserError

SPECS = [
    ImageSpec((8, 6), 3, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), crop_pct=0.9),
    ImageSpec((8, 8), 1),
    VectorSpec(5),
    TokenSpec(vocabulary=9, max_length=4, padding_id=2),
    AudioSpec(8000, bands=4, window=200, hop=80),
    TableSpec(("age",), (30.5,), (2.0,), ("age",), ("job", "town"), (("a", "b"), ())),
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_spec_is_the_same_after_a_checkpoint(spec, tmp_path):
    torch.save(spec.state(), tmp_path / "spec")
    assert spec_from(torch.load(tmp_path / "spec", weights_only=True)) == spec


def test_an_unknown_modality_is_refused():
    with pytest.raises(UserError, match=r"unknown modality of inputs 'imag'.*image"):
        spec_from({"modality": "imag"})


def test_images_are_prepared_by_both_halves():
    spec = ImageSpec((1, 2), 1, mean=(0.5,), std=(0.25,))
    raw = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert spec.prepare(raw).tolist() == [[[[-2.0, 2.0]]]]
    assert spec.is_raw(raw)
    assert not spec.is_raw(spec.fit(raw))
    assert spec.restore(spec.prepare(raw)).tolist() == [[[[0.0, 1.0]]]]


def test_vectors_are_taken_as_they_are():
    x = torch.tensor([[1.5, -2.0]], dtype=torch.float64)
    assert VectorSpec(2).prepare(x).tolist() == [[1.5, -2.0]]
    assert VectorSpec(2).prepare(x).dtype == torch.float32


def test_sequences_are_cut_and_padded():
    spec = TokenSpec(vocabulary=9, max_length=3, padding_id=8)
    batch = spec.prepare([[1, 2, 3, 4], [5]])
    assert batch["ids"].tolist() == [[1, 2, 3], [5, 8, 8]]
    assert batch["mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())
    again = spec.prepare({**batch, "mask": batch["mask"][:, :2]})
    assert again["ids"].tolist() == batch["ids"].tolist()
    assert spec.padding == {"ids": 8, "mask": 0}


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        (ImageSpec((8, 8), 3), (1, 28, 28), ""),
        (ImageSpec((8, 8), 1), (3, 9, 9), ""),
        (ImageSpec((8, 8), 4), (4, 9, 9), ""),
        (ImageSpec((8, 8), 4), (1, 9, 9), "images of 4 channels, but the data have 1"),
        (ImageSpec((8, 8), 3), (2, 1, 1), "takes images, but the data are vectors of length 2"),
        (VectorSpec(4), (4, 1, 1), ""),
        (VectorSpec(4), (2, 1, 1), "length 4, but the data have length 2"),
        (VectorSpec(4), (1, 8, 8), "the data are images of 8x8 pixels"),
    ],
)
def test_samples_that_cannot_be_brought_to_it_are_named(spec, shape, expected):
    reason = spec.mismatch(shape)
    assert expected in reason
    assert bool(reason) == bool(expected)
