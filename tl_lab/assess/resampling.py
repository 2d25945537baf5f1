"""Intervals of statistics that have no formula for one: a jackknife over folds of the samples."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tl_lab.assess.results import Measure
from tl_lab.randomness import generator

__all__ = ["folds_of", "jackknife", "jackknifed", "jackknifed_ratio"]


def folds_of(count: int, folds: int, seed: int) -> Tensor:
    """Draw the fold of each sample, ``(count,)``, int64; the folds are as large as each other, or differ by one.

    Raises:
        ValueError: there are fewer than two samples a fold.
    """
    if count < 2 * folds:
        raise ValueError(f"{folds} folds need at least {2 * folds} samples, and there are {count}")
    return torch.randperm(count, generator=generator(seed, "jackknife")) % folds


def jackknife(
    score: Callable[[Tensor], float],
    count: int,
    folds: int,
    seed: int,
    least: float = -np.inf,
    most: float = np.inf,
) -> Measure:
    """Compute a statistic of all samples, and its interval by leaving each fold out in turn.

    Args:
        score: of the samples at some positions, ``(n,)``, int64.
        count: N of samples.
        folds: K >= 2.
        seed: of the folds.
        least, most: what the statistic can be; its interval ends there.

    Raises:
        ValueError: there are fewer than two samples a fold.
    """
    fold = folds_of(count, folds, seed)
    left_out = np.array([score((fold != k).nonzero()[:, 0]) for k in range(folds)])
    return jackknifed(score(torch.arange(count)), left_out, least, most)


def jackknifed(whole: float, left_out: np.ndarray, least: float = -np.inf, most: float = np.inf) -> Measure:
    """Give a value with its 95 % interval: ``t_(K-1) sqrt((K - 1) / K sum_k (s_k - mean)^2)`` on both sides.

    Args:
        whole: of all samples.
        left_out: s, without each of the folds, ``(K,)``.
        least, most: see :func:`jackknife`.

    Returns:
        The value alone where it, or one without a fold, is not finite.

    References:
        Efron and Stein, The Jackknife Estimate of Variance, Annals of Statistics 9 (1981).

    Examples:
        >>> jackknifed(1.0, np.array([0.5, 1.0, 1.5])).text(2)
        '1.00 (-1.48 to 3.48)'
    """
    from scipy.special import stdtrit

    folds = len(left_out)
    if not np.isfinite([whole, *left_out]).all():
        return Measure(whole)
    spread = float(np.sqrt((folds - 1) / folds * np.square(left_out - left_out.mean()).sum()))
    half = float(stdtrit(folds - 1, 0.975)) * spread
    return Measure(whole, max(least, whole - half), min(most, whole + half))


def jackknifed_ratio(whole: float, left_out: np.ndarray) -> Measure:
    """Give a ratio with its interval, by :func:`jackknifed` of the logarithms; the ratio alone where it is 0."""
    with np.errstate(divide="ignore"):
        found = jackknifed(float(np.log(whole)), np.log(left_out))
    if found.low is None or found.high is None:
        return Measure(whole)
    return Measure(whole, float(np.exp(found.low)), float(np.exp(found.high)))
