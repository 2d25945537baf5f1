"""Sets of samples: selection, concatenation and hashes, for one tensor or several."""

import hashlib

import pytest
import torch

from tl_lab.data.samples import Samples

IDS = torch.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
Y = torch.tensor([0, 1, 0])


def named() -> Samples:
    return Samples(
        {"ids": IDS, "mask": (IDS > 0).long()}, Y, torch.tensor([0, 0, 1]), {"group": torch.tensor([7, 8, 9])}
    )


def test_named_tensors_are_counted_by_samples_not_by_names():
    assert len(named()) == 3


def test_a_subset_keeps_every_column():
    part = named().subset(torch.tensor([2, 0]))
    assert part.x["ids"].tolist() == [[4, 5, 6], [1, 2, 0]]
    assert part.x["mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert part.y.tolist() == [0, 0]
    assert part.domain.tolist() == [1, 0]
    assert part.columns["group"].tolist() == [9, 7]


def test_joined_sets_keep_what_all_parts_have_and_pad_to_the_longest():
    longer = Samples({"ids": torch.ones(1, 4).long(), "mask": torch.ones(1, 4).long()}, torch.tensor([1]))
    whole = Samples.concatenate([named(), longer])
    assert whole.x["ids"].tolist() == [[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 0], [1, 1, 1, 1]]
    assert whole.y.tolist() == [0, 1, 0, 1]
    assert whole.domain is None
    assert whole.columns == {}
    assert Samples.concatenate([named(), named()]).columns["group"].tolist() == [7, 8, 9, 7, 8, 9]


def test_tensors_and_named_tensors_cannot_be_joined():
    with pytest.raises(ValueError, match="a tensor cannot be joined"):
        Samples.concatenate([Samples(torch.zeros(1, 3), Y[:1]), named()])


def test_the_hash_of_tensors_and_labels_is_that_of_their_types_shapes_and_bytes():
    x = torch.tensor([[0.5, 1.0]])
    expected = hashlib.sha256(b"torch.float32(1, 2)" + x.numpy().tobytes() + b"torch.int64(1,)" + bytes(8))
    assert Samples(x, torch.tensor([0])).fingerprint() == expected.hexdigest()[:16]


def test_the_hash_tells_tensors_names_domains_and_columns_apart():
    one = named()
    other = [
        Samples(one.x["ids"], Y, one.domain, one.columns),
        Samples({"ids": IDS, "other": one.x["mask"]}, Y, one.domain, one.columns),
        Samples(one.x, Y, None, one.columns),
        Samples(one.x, Y, one.domain, {"group": torch.tensor([7, 8, 8])}),
        Samples(one.x, Y, one.domain),
    ]
    assert len({one.fingerprint(), *(samples.fingerprint() for samples in other)}) == 6
    assert one.fingerprint() == named().fingerprint()


def test_withheld_labels_leave_the_rest():
    assert named().without_labels().y is None
    assert named().without_labels().columns["group"].tolist() == [7, 8, 9]
