"""Digits labelled by their properties: a multi-label problem, as a set and as a domain pair."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tl_lab.data.samples import Samples
from tl_lab.data.sets.digits import Digits
from tl_lab.data.sets.printed_to_handwritten import PrintedToHandwritten
from tl_lab.problems import MultiLabel, Problem

__all__ = ["PROPERTIES", "DigitsProperties", "PrintedToHandwrittenProperties", "properties_of"]

PROPERTIES: dict[str, tuple[int, ...]] = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "above 4": (5, 6, 7, 8, 9),
    "has a loop": (0, 6, 8, 9),  # a handwritten 4 is open about as often as closed
}
"""The digits that have each property."""


def properties_of(digits: Tensor) -> Tensor:
    """Return the properties of digits.

    Args:
        digits: digits in 0..9, ``(N,)``.

    Returns:
        ``(N, 4)`` with values 0 and 1, float32, in the order of :data:`PROPERTIES`.
    """
    table = torch.zeros(10, len(PROPERTIES))
    for column, members in enumerate(PROPERTIES.values()):
        table[list(members), column] = 1
    return table[digits]


class _Properties:
    """Replaces digits by their properties after the split, which is stratified by digit."""

    problem_kind: type[Problem] = MultiLabel

    def read(self) -> dict[str, Samples]:
        """Read the digits, and replace them by their properties."""
        sets: dict[str, Samples] = super().read()  # type: ignore[misc]
        self.class_names = list(PROPERTIES)
        return {name: _relabelled(samples) for name, samples in sets.items()}


def _relabelled(samples: Samples) -> Samples:
    return samples if samples.y is None else replace(samples, y=properties_of(samples.y))


class DigitsProperties(_Properties, Digits):
    """Scikit-learn's handwritten digits, labelled as even, prime, above 4 and with a loop.

    Args:
        options: keyword arguments of :class:`~tl_lab.data.sets.digits.Digits`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


class PrintedToHandwrittenProperties(_Properties, PrintedToHandwritten):
    """Printed digits (source) and handwritten digits (target), labelled by the same four properties.

    Args:
        options: keyword arguments of :class:`~tl_lab.data.sets.printed_to_handwritten.PrintedToHandwritten`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
