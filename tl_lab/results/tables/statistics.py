"""Confidence intervals, tests and corrections for tables; this module does not import torch."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "CONFIDENCE",
    "CONFIDENCE_LEVEL",
    "FEWEST_SEEDS",
    "NO_DIFFERENCE",
    "NO_PAIR",
    "TOO_FEW",
    "VERDICTS",
    "Difference",
    "both_of",
    "friedman",
    "half_width",
    "holm",
    "nemenyi",
    "paired_t",
    "studentized_range",
    "t_quantile",
    "verdict",
]

CONFIDENCE = 0.95
"""Default confidence level of intervals."""
CONFIDENCE_LEVEL = f"{100 * CONFIDENCE:.0f} %"
"""The same as text, as captions state it."""
FEWEST_SEEDS = 3
"""Smallest number of values for an interval or test; for two values t is 12.7, so that an interval is meaningless."""
NO_PAIR = (math.nan, math.nan)
"""Placeholder for the two values if their number is not two."""


NO_DIFFERENCE = "no difference shown"
"""Verdict of a test whose p is too large: the difference may be zero, or too small for the number of seeds."""
TOO_FEW = "too few to tell"
"""Verdict if there are too few values for a test."""
VERDICTS = f"The verdict is *helps* or *hurts* if p < {1 - CONFIDENCE:.2f}, and *{NO_DIFFERENCE}* otherwise."
"""Definition of the verdicts, for captions."""


class Difference(NamedTuple):
    """Statistics of paired differences.

    Attributes:
        n: number of pairs.
        mean: mean of the differences.
        half: half-width of Student's t interval of the mean; NaN for n < 3.
        p: p-value of the two-sided paired t-test; NaN for n < 3.
        both: the two differences for n = 2, the smaller first; otherwise NaN.
    """

    n: int
    mean: float
    half: float
    p: float
    both: tuple[float, float] = NO_PAIR


def verdict(p: float | None, better: bool) -> str:
    """Return the verdict of a test: ``helps``, ``hurts``, ``no difference shown`` or ``too few to tell``.

    Args:
        p: corrected p-value; None with too few values.
        better: whether the difference is an improvement.
    """
    if p is None:
        return TOO_FEW
    if p >= 1 - CONFIDENCE:
        return NO_DIFFERENCE
    return "helps" if better else "hurts"


def t_quantile(n: Any, confidence: float = CONFIDENCE) -> np.ndarray:
    """Return Student's t quantile for a two-sided interval over n values, with n - 1 degrees of freedom.

    Args:
        n: number of values, or an array of such numbers.
        confidence: level of the interval, in (0, 1).

    Returns:
        The quantile, with the shape of ``n``; NaN for n < 2.
    """
    from scipy.special import stdtrit  # the same function in scipy.stats takes seconds to import

    n = np.asarray(n)
    return stdtrit(np.where(n > 1, n - 1.0, np.nan), (1 + confidence) / 2)


def half_width(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> float:
    """Return the half-width of Student's t interval of a mean, ``t s / sqrt(n)`` (s with ddof 1); NaN for n < 3."""
    values = np.asarray(values, dtype=float)
    if len(values) < FEWEST_SEEDS:
        return math.nan
    return float(t_quantile(len(values), confidence) * values.std(ddof=1) / np.sqrt(len(values)))


def both_of(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the two values, the smaller first, if there are two, which are too few for an interval; otherwise NaN."""
    if len(values) != 2:
        return NO_PAIR
    low, high = sorted(map(float, values))
    return low, high


def paired_t(differences: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> Difference:
    """Test whether the mean of paired differences is zero, with Student's ``t = sqrt(n) d / s`` (s with ddof 1).

    Args:
        differences: one finite difference per pair.
        confidence: level of the interval, in (0, 1).

    Returns:
        The mean difference with its interval and p-value; if all differences are equal, p is 0, or 1 if they are zero.
    """
    from scipy.special import stdtr

    values = np.asarray(differences, dtype=float)
    n = len(values)
    mean = float(values.mean()) if n else math.nan
    if n < FEWEST_SEEDS:
        return Difference(n, mean, math.nan, math.nan, both_of(values))
    spread = float(values.std(ddof=1))
    if spread == 0:
        return Difference(n, mean, 0.0, float(mean == 0))
    p = 2 * float(stdtr(n - 1, -abs(mean) * math.sqrt(n) / spread))
    return Difference(n, mean, half_width(values, confidence), p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for the number of tests by Holm's step-down procedure.

    Args:
        p_values: p-values of the tests; None for tests that were not performed.

    Returns:
        The corrected p-values, at most 1, in the same order; None stays None.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    made = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        corrected[i] = largest
    return corrected


def friedman(ranks: np.ndarray) -> float:
    """Test whether methods have the same mean rank over data sets, by Friedman's test with Iman and Davenport's F.

    ``chi2 = (k - 1) sum_j (R_j - N (k + 1) / 2)^2 / (sum_ij r_ij^2 - N k (k + 1)^2 / 4)`` with rank sums R_j, which
    takes ties into account; ``F = (N - 1) chi2 / (N (k - 1) - chi2)`` with k - 1 and (k - 1)(N - 1) degrees of freedom.

    Args:
        ranks: ranks of k methods on N data sets, ``(N, k)``; tied methods have their mean rank.

    Returns:
        The p-value; 1 if all ranks are tied.

    References:
        Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006), section 3.2.2.
    """
    from scipy.special import fdtrc

    n, k = ranks.shape
    between = float(np.square(ranks.sum(0) - n * (k + 1) / 2).sum())
    within = float(np.square(ranks).sum()) - n * k * (k + 1) ** 2 / 4
    if within <= 0:
        return 1.0
    chi2 = (k - 1) * between / within
    if chi2 >= n * (k - 1) * (1 - 1e-12):  # the ranks are the same on all data sets
        return 0.0
    return float(fdtrc(k - 1, (k - 1) * (n - 1), (n - 1) * chi2 / (n * (k - 1) - chi2)))


def nemenyi(k: int, n: int, alpha: float = 1 - CONFIDENCE) -> float:
    """Return Nemenyi's critical difference of mean ranks, above which two of k methods differ significantly.

    ``CD = q / sqrt(2) * sqrt(k (k + 1) / (6 n))`` over n data sets, with the quantile q of the studentized range.

    References:
        Demsar, JMLR 7 (2006), section 3.2.2.
    """
    return studentized_range(k, 1 - alpha) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))


def studentized_range(k: int, share: float) -> float:
    """Return the quantile of the range of k independent standard normal values (infinite degrees of freedom).

    ``P(range <= q) = k * integral of phi(z) (Phi(z) - Phi(z - q))^(k - 1) dz``, inverted by bisection.

    Args:
        k: number of values, >= 2.
        share: confidence level, in (0, 1).
    """
    from scipy.special import ndtr

    z = np.linspace(-9, 9, 2001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    low, high = 0.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        reached = k * np.trapezoid(density * (ndtr(z) - ndtr(z - middle)) ** (k - 1), z)
        low, high = (middle, high) if reached < share else (low, middle)
    return (low + high) / 2
