"""Decide whether a measured mean reproduces a published one, or how many more seeds would decide it.

This module does not import torch.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_lab.results.tables.statistics import CONFIDENCE, FEWEST_SEEDS
from tl_lab.texts import counted

__all__ = ["Verdict", "decide", "difference_half_width", "seeds_to_decide"]

_MOST_SEEDS = 1000
"""Largest total number of seeds that is considered."""
_ROUNDING = 1e-9


class Verdict(NamedTuple):
    """Comparison of a measured mean with a published number.

    Attributes:
        word: ``yes``, ``no, above``, ``no, below`` or ``undecided``.
        half: half-width of the interval of measured - published; NaN with fewer than three seeds.
        more_seeds: for an undecided verdict, the expected number of further seeds that decide it; None if no number
            would, or if it is decided.
    """

    word: str
    half: float
    more_seeds: int | None = None

    @property
    def decided(self) -> bool:
        """Whether the verdict is yes or no."""
        return self.word != "undecided"

    @property
    def text(self) -> str:
        """The verdict as text for a table, such as ``undecided: 3 more seeds``."""
        if self.decided:
            return self.word
        if self.more_seeds is None:
            return "undecided"
        return f"undecided: {counted(self.more_seeds, 'more seed')}"


def decide(values: Sequence[float] | np.ndarray, published: float, tolerance: float, error: float = 0.0) -> Verdict:
    """Compare the values of several seeds with a published number.

    The number is reproduced if the whole interval of measured - published lies within the tolerance, and not reproduced
    if the whole interval lies outside of it. Otherwise, and with fewer than three seeds, the verdict is undecided.

    Args:
        values: one value per seed.
        published: the number in the paper.
        tolerance: largest difference that counts as reproduced, >= 0.
        error: standard error of the published number, >= 0; 0 if the paper states none.
    """
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < FEWEST_SEEDS:
        return Verdict("undecided", math.nan, FEWEST_SEEDS - n)
    difference, spread = float(values.mean()) - published, float(values.std(ddof=1))
    half = float(difference_half_width(spread, n, error))
    if abs(difference) + half <= tolerance + _ROUNDING:
        return Verdict("yes", half)
    if abs(difference) - half > tolerance + _ROUNDING:
        return Verdict("no, above" if difference > 0 else "no, below", half)
    return Verdict("undecided", half, seeds_to_decide(spread, n, abs(abs(difference) - tolerance), error))


def seeds_to_decide(spread: float, n: int, margin: float, error: float = 0.0) -> int | None:
    """Estimate how many further seeds make the half-width of an interval smaller than a margin.

    Args:
        spread: standard deviation over seeds, ddof 1, >= 0.
        n: number of seeds so far.
        margin: distance of the mean from the nearest bound, >= 0; both are assumed to stay as they are.
        error: standard error of the published number, >= 0.

    Returns:
        Number of further seeds; None if a thousand in all would not suffice.
    """
    totals = np.arange(n + 1, _MOST_SEEDS + 1)
    enough = totals[difference_half_width(spread, totals, error) < margin]
    return int(enough[0]) - n if len(enough) else None


def difference_half_width(
    spread: float, n: int | np.ndarray, error: float = 0.0, confidence: float = CONFIDENCE
) -> np.ndarray:
    """Return the half-width of the interval of a mean over seeds minus a published number.

    It is ``t sqrt(s^2 / n + e^2)`` with the Welch-Satterthwaite degrees of freedom for a known published standard
    error, ``(s^2 / n + e^2)^2 (n - 1) / (s^2 / n)^2``. For e = 0, this is Student's interval over n values.

    Args:
        spread: standard deviation s over seeds, ddof 1, >= 0.
        n: number of seeds, >= 2, or an array of such numbers.
        error: standard error e of the published number, >= 0.
        confidence: level of the interval, in (0, 1).

    Returns:
        The half-width, with the shape of ``n``.
    """
    from scipy.special import ndtri, stdtrit

    n, share = np.asarray(n), (1 + confidence) / 2
    of_mean = spread**2 / n
    both = of_mean + error**2
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = both**2 * (n - 1) / of_mean**2
    return np.where(of_mean > 0, stdtrit(freedom, share), ndtri(share)) * np.sqrt(both)
