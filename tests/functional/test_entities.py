"""Spans of tags, from cases written by hand, and buckets of distances."""

import pytest
import torch

from tl_lab.functional.boxes import relative_bucket
from tl_lab.functional.entities import count_entities, entities, precision_recall_f1


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("", []),
        ("O O", []),
        ("B-a", [("a", 0, 1)]),
        ("B-a I-a I-a O", [("a", 0, 3)]),
        ("O B-a B-a I-a", [("a", 1, 2), ("a", 2, 4)]),  # two side by side
        ("I-a I-a", [("a", 0, 2)]),  # without a beginning
        ("B-a I-b I-b O", [("a", 0, 1), ("b", 1, 3)]),  # another kind begins anew
        ("B-a O I-a", [("a", 0, 1), ("a", 2, 3)]),
        ("O I-a B-a", [("a", 1, 2), ("a", 2, 3)]),
        ("B-x-y I-x-y", [("x-y", 0, 2)]),  # kinds may have hyphens
    ],
)
def test_spans_of_tags(tags: str, expected: list) -> None:
    assert entities(tags.split()) == expected


def test_a_span_is_correct_if_its_kind_and_both_ends_are() -> None:
    true = [["B-a", "I-a", "O", "B-b"], ["B-a", "O"]]
    predicted = [["B-a", "I-a", "O", "B-a"], ["B-a", "I-a"]]  # one right, one of another kind, one too long
    right, given, wanted = count_entities(predicted, true)
    assert (dict(right), dict(given), dict(wanted)) == ({"a": 1}, {"a": 3}, {"a": 2, "b": 1})
    assert precision_recall_f1(1, 3, 3) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert precision_recall_f1(1, 2, 4) == pytest.approx((0.5, 0.25, 1 / 3))
    assert precision_recall_f1(0, 0, 0) == (0.0, 0.0, 0.0)


def test_short_distances_have_separate_bins() -> None:
    distance = torch.arange(-600, 601)
    bins = relative_bucket(distance, bins=16, longest=500)
    assert bins[distance.abs() < 4].tolist() == [11, 10, 9, 0, 1, 2, 3]
    assert bins.min() == 0
    assert bins.max() == 15
    right = bins[distance >= 0]
    assert bool((right.diff() >= 0).all())
    assert right.unique().tolist() == list(range(8))
    assert right[4] == 4
    assert right[500] == right[600] == 7
    # the n-th far bin begins at 4 (500 / 4) ** (n / 4)
    for n in range(1, 4):
        edge = 4 * 125 ** (n / 4)
        assert (right[int(edge)], right[int(edge) + 1]) == (3 + n, 4 + n)
