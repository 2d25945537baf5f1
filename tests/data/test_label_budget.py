"""A training set with few labels: balanced, determined by the seed, smaller draws within larger ones."""

import itertools

import pytest
import torch
from laboratory import BlobPair, Blobs, BlobStream

from tl_lab.config import compose, config_hash, to_plain
from tl_lab.data.scenarios.inner import build_inner
from tl_lab.data.sets.digits import Digits
from tl_lab.data.splits import few_labels
from tl_lab.errors import UserError

NAMES = ["a", "b", "c"]
Y = torch.tensor([0] * 10 + [1] * 3 + [2] * 20)


@pytest.mark.parametrize(
    ("count", "quotas"),
    [
        (3, [1, 1, 1]),
        (9, [3, 3, 3]),
        (13, [5, 3, 5]),  # class 1 has no more than 3
        (23, [10, 3, 10]),
        (30, [10, 3, 17]),
        (33, [10, 3, 20]),
    ],
)
def test_classes_are_as_equal_as_they_can_be(count, quotas):
    drawn = few_labels(Y, count, 0, NAMES)
    assert torch.bincount(Y[drawn]).tolist() == quotas
    assert (drawn.diff() > 0).all()  # sorted, none twice


def test_what_does_not_divide_goes_to_some_classes_by_seed():
    counts = {tuple(torch.bincount(Y[few_labels(Y, 7, seed, NAMES)]).tolist()) for seed in range(20)}
    assert counts == {(3, 2, 2), (2, 3, 2), (2, 2, 3)}


def test_the_seed_fixes_the_draw_and_smaller_draws_lie_within_larger_ones():
    draws = [set(few_labels(Y, count, 4, NAMES).tolist()) for count in range(3, 34)]
    assert all(small < large for small, large in itertools.pairwise(draws))
    assert few_labels(Y, 9, 4, NAMES).equal(few_labels(Y, 9, 4, NAMES))
    assert not few_labels(Y, 9, 4, NAMES).equal(few_labels(Y, 9, 5, NAMES))


@pytest.mark.parametrize("count", [2, 34, 0, -1])
def test_a_number_that_cannot_be_is_refused(count):
    with pytest.raises(UserError, match=rf"data\.labels={count} must be between the number of classes, 3, .* 33"):
        few_labels(Y, count, 0, NAMES)


def test_only_the_training_set_is_cut():
    whole, few = Digits(), Digits(labels=100)
    for data in (whole, few):
        data.load()
    assert {name: len(samples) for name, samples in few.sets.items()} == {"train": 100, "val": 180, "test": 359}
    assert few.class_counts.tolist() == [10] * 10
    assert few.sets["test"].fingerprint() == whole.sets["test"].fingerprint()
    assert few.fingerprint() != whole.fingerprint()
    assert "train: 100 of 1,258 labelled samples" in few.facts()["inputs"]


def test_the_budget_of_a_pair_limits_its_source():
    pair, whole = BlobPair(labels=6), BlobPair()
    for data in (pair, whole):
        data.load()
    assert pair.class_counts.tolist() == [2, 2, 2]
    assert len(pair.sets["source/train"]) == 6
    assert len(pair.sets["target/train"]) == len(whole.sets["target/train"])
    others = [name for name in whole.sets if name != "source/train"]
    assert all(pair.sets[name].fingerprint() == whole.sets[name].fingerprint() for name in others)
    plain = to_plain(compose(["data=printed_to_handwritten"]))
    assert plain["data"].pop("labels") is None
    assert config_hash(compose(["data=printed_to_handwritten"])) == config_hash(plain)


def test_data_that_offer_more_than_labels_have_no_budget():
    with pytest.raises(UserError, match=r"data\.labels=6 limits the training set .* or the source's; BlobStream"):
        BlobStream(labels=6).load()
    with pytest.raises(UserError, match="is not supported for data nested in other data"):
        build_inner(Blobs(labels=6), seed=0)
    data = Blobs(labels=6)
    data.load()
    assert data.class_counts.tolist() == [2, 2, 2]
