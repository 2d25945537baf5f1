"""Intervals and corrections that tables share; nothing here imports torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["CONFIDENCE", "half_width", "holm", "t_quantile"]

CONFIDENCE = 0.95
"""What an interval covers where nothing else is said."""


def t_quantile(n: Any, confidence: float = CONFIDENCE) -> np.ndarray:
    """Give Student's t quantile of a two-sided interval over n values, n - 1 degrees of freedom.

    Args:
        n: number of values, or an array of them.
        confidence: what the interval covers, in (0, 1).

    Returns:
        The quantile, shaped as ``n``; NaN for n < 2.
    """
    from scipy.special import stdtrit  # scipy.stats has the same under another name, and takes seconds to import

    n = np.asarray(n)
    return stdtrit(np.where(n > 1, n - 1.0, np.nan), (1 + confidence) / 2)


def half_width(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> float:
    """Give the half-width of a mean's Student t interval, ``t s / sqrt(n)`` with s of ddof 1; NaN for n < 2."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float("nan")
    return float(t_quantile(len(values), confidence) * values.std(ddof=1) / np.sqrt(len(values)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number, step down.

    Args:
        p_values: of the tests made; None for those that were not.

    Returns:
        The corrected values, in their order, at most 1; None stays.

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
