"""Spans marked by tags in a sequence, and counts of correct ones."""

from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = ["count_entities", "entities", "precision_recall_f1"]

Entity = tuple[str, int, int]
"""Kind, first place, and the place behind the last."""


def entities(tags: Sequence[str]) -> list[Entity]:
    """Find the spans that a sequence of tags marks, by the rules of the CoNLL evaluation.

    ``B-x`` begins a span of the kind x. ``I-x`` continues an open span of x and begins one otherwise. ``O`` and any
    other kind end it.

    Args:
        tags: of the words, in their order.

    Returns:
        Spans in the order of their beginnings.

    References:
        E. F. Tjong Kim Sang, S. Buchholz, "Introduction to the CoNLL-2000 Shared Task: Chunking", CoNLL 2000.
        https://aclanthology.org/W00-0726

    Examples:
        >>> entities(["B-total", "I-total", "O", "I-date"])
        [('total', 0, 2), ('date', 3, 4)]
    """
    found: list[Entity] = []
    kind, first = "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and (mark != "I" or name != kind):
            found.append((kind, first, place))
            kind = ""
        if mark in ("B", "I") and not kind:
            kind, first = name, place
    return found


def count_entities(
    predicted: Iterable[Sequence[str]], true: Iterable[Sequence[str]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count spans by kind over sequences; a span is correct if its kind and both ends are correct.

    Args:
        predicted: tags of each sequence.
        true: likewise.

    Returns:
        The numbers of correct, predicted and true spans.

    Examples:
        >>> right, given, wanted = count_entities([["B-date", "O"]], [["B-date", "I-date"]])
        >>> dict(right), dict(given), dict(wanted)
        ({}, {'date': 1}, {'date': 1})
    """
    right, given, wanted = Counter[str](), Counter[str](), Counter[str]()
    for ours, theirs in zip(predicted, true, strict=True):
        found, there = entities(ours), entities(theirs)
        given.update(kind for kind, _, _ in found)
        wanted.update(kind for kind, _, _ in there)
        right.update(kind for kind, _, _ in set(found) & set(there))
    return right, given, wanted


def precision_recall_f1(right: float, given: float, wanted: float) -> tuple[float, float, float]:
    """Compute P = right / given, R = right / wanted and F1 = 2 right / (given + wanted); 0 where nothing is there.

    Examples:
        >>> precision_recall_f1(right=3, given=4, wanted=6)
        (0.75, 0.5, 0.6)
    """
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    return precision, recall, 2 * right / (given + wanted) if given + wanted else 0.0
