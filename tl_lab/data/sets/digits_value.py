"""Digits labelled by their value: a regression problem, as a set and as a domain pair."""

from dataclasses import replace
from typing import Any

from tl_lab.data.samples import Samples
from tl_lab.data.sets.digits import Digits
from tl_lab.data.sets.printed_to_handwritten import PrintedToHandwritten
from tl_lab.problems import Problem, Regression

__all__ = ["DigitsValue", "PrintedToHandwrittenValue"]


class _Value:
    """Replaces classes by numbers after the split, which is stratified by digit."""

    problem_kind: type[Problem] = Regression

    def read(self) -> dict[str, Samples]:
        """Read the digits, and convert them to numbers, ``(N, 1)``."""
        sets: dict[str, Samples] = super().read()  # type: ignore[misc]
        self.class_names = ["value"]
        return {
            name: samples if samples.y is None else replace(samples, y=samples.y[:, None].float())
            for name, samples in sets.items()
        }


class DigitsValue(_Value, Digits):
    """Scikit-learn's handwritten digits as numbers from 0 to 9.

    Args:
        options: keyword arguments of :class:`~tl_lab.data.sets.digits.Digits`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


class PrintedToHandwrittenValue(_Value, PrintedToHandwritten):
    """Printed digits (source) and handwritten digits (target) as numbers from 0 to 9.

    Args:
        options: keyword arguments of :class:`~tl_lab.data.sets.printed_to_handwritten.PrintedToHandwritten`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
