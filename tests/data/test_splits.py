"""Stratified splits, in which every class is in every part."""

import pytest
import torch

from tl_lab.data.samples import Samples
from tl_lab.data.splits import check_shares, hold_out, split_in_three
from tl_lab.errors import UserError


def labels(*counts):
    y = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]


def names(count):
    return [f"class{i}" for i in range(count)]


def test_shares_hold_for_each_class_and_in_all():
    y = labels(100, 50, 10)
    train, parts = hold_out(y, {"val": 0.1, "test": 0.2}, 0, names(3))
    assert torch.bincount(y[parts["val"]]).tolist() == [10, 5, 1]
    assert torch.bincount(y[parts["test"]]).tolist() == [20, 10, 2]
    assert torch.bincount(y[train]).tolist() == [70, 35, 7]
    assert sorted(torch.cat([train, *parts.values()]).tolist()) == list(range(160))


def test_rounding_keeps_the_total():
    _, parts = hold_out(
        labels(*[5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]), {"val": 0.1}, 0, names(10)
    )
    assert len(parts["val"]) == 6000


def test_a_rare_class_is_in_every_part():
    y = labels(1000, 3)
    train, parts = hold_out(y, {"val": 0.1, "test": 0.2}, 0, names(2))
    assert [int((y[index] == 1).sum()) for index in (train, *parts.values())] == [1, 1, 1]


def test_the_seed_fixes_the_split():
    y = labels(40, 40)
    first, again, other = (hold_out(y, {"test": 0.25}, seed, names(2))[1]["test"].tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_too_few_samples_name_class_and_numbers():
    with pytest.raises(UserError, match=r"train, val, test.*'class1' \(2\), 'class2' \(0\).*at least 3"):
        hold_out(labels(50, 2), {"val": 0.1, "test": 0.2}, 0, names(3))


@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.1, 0), (-0.1, 0.2), (0.5, 0.5)])
def test_shares_out_of_range(val, test):
    with pytest.raises(UserError, match=r"val_share and data\.test_share"):
        check_shares(val, test)


def test_split_in_three_carries_inputs_along():
    y = labels(20, 20)
    sets = split_in_three(Samples(y.view(-1, 1).clone(), y), 0.1, 0.2, 0, names(2))
    assert {name: len(samples) for name, samples in sets.items()} == {"train": 28, "val": 4, "test": 8}
    assert all(torch.equal(samples.x.flatten(), samples.y) for samples in sets.values())


@pytest.mark.parametrize("label", [-1, 3, 200])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(UserError, match=rf"contain {label} \(sample 2; 1 invalid label\): labels must be in 0\.\.2"):
        hold_out(torch.tensor([0, label, 1, 2] * 1 + [0, 1, 2] * 5), {"val": 0.2}, 0, list("abc"))


@pytest.mark.parametrize(
    ("counts", "shares", "words"),
    [
        (
            (30, 1),
            {"val": 0.1, "test": 0.2},
            "'class1' (1): a class needs at least 3; add samples, merge it with another class, or leave it out",
        ),
        (
            (30, 1, 2),
            {"val": 0.1, "test": 0.2},
            "'class1' (1), 'class2' (2): a class needs at least 3; add samples, merge them with other classes, or "
            "leave them out",
        ),
        (
            (3, 3),
            {"val": 0.45, "test": 0.45},
            "a class needs at least 3; add samples, or lower data.val_share or data.test_share",
        ),
        ((2, 2), {"val": 0.9}, "a class needs at least 2; add samples, or lower data.val_share"),
    ],
)
def test_the_remedy_for_few_samples_fits_their_number(counts, shares, words):
    with pytest.raises(UserError) as refused:
        hold_out(labels(*counts), shares, 0, names(len(counts)))
    assert str(refused.value).endswith(words)
