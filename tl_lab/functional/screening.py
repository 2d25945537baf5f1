"""Screening performance of a score: area under the curve with its interval, and operating points."""

import math

import torch
from torch import Tensor

__all__ = ["auroc_interval", "calibration_error", "delong", "rates_at", "threshold_at"]

_Z95 = 1.959963984540054


def delong(scores: Tensor, y: Tensor) -> tuple[float, float]:
    """Compute the area under the ROC curve and its variance.

    With X the scores of the m positive samples and Y those of the n negative ones, and psi(x, y) = 1 if x > y, 1/2 if
    equal, else 0: A = mean psi; V10_i = mean_j psi(X_i, Y_j), V01_j = mean_i psi(X_i, Y_j); the variance is
    var(V10) / m + var(V01) / n. Ranks give both in O(N log N).

    Args:
        scores: the larger the more likely, ``(N,)``.
        y: 1 for positive samples, else 0, ``(N,)``.

    Returns:
        The area and its variance. Both are NaN if all samples have the same label, and the variance is NaN if a label
        occurs only once.

    References:
        E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver
        Operating Characteristic Curves: A Nonparametric Approach", Biometrics 44(3), 1988.
        X. Sun, W. Xu, "Fast Implementation of DeLong's Algorithm", IEEE Signal Processing Letters 21(11), 2014.

    Examples:
        >>> area, variance = delong(torch.tensor([0.75, 0.5, 0.25, 0.125]), torch.tensor([1, 0, 1, 0]))
        >>> area, variance
        (0.75, 0.125)
    """
    scores, positive = scores.double().cpu(), y.cpu().bool()
    high, low = scores[positive], scores[~positive]
    m, n = len(high), len(low)
    if not m or not n:
        return math.nan, math.nan
    ranks = _mid_ranks(scores)
    above = (ranks[positive] - _mid_ranks(high)) / n  # V10
    below = 1 - (ranks[~positive] - _mid_ranks(low)) / m  # V01
    variance = above.var() / m + below.var() / n if m > 1 and n > 1 else torch.tensor(torch.nan)
    return float(above.mean()), float(variance)


def _mid_ranks(values: Tensor) -> Tensor:
    """Rank values from 1; equal values receive the mean of their ranks."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    return (ends - (counts.double() - 1) / 2)[place]


def auroc_interval(scores: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Compute the area under the ROC curve with DeLong's 95 % interval, clipped to [0, 1].

    Args:
        scores, y: see :func:`delong`.

    Returns:
        Area, lower and upper end.

    Examples:
        >>> scores, y = torch.linspace(0, 1, 100), torch.tensor([0, 1] * 50)
        >>> [round(end, 2) for end in auroc_interval(scores, y)]
        [0.51, 0.4, 0.62]
    """
    area, variance = delong(scores, y)
    half = _Z95 * math.sqrt(variance) if variance == variance else math.nan
    return area, max(0.0, area - half), min(1.0, area + half)


def threshold_at(scores: Tensor, y: Tensor, specificity: float = 0.9) -> float:
    """Choose the lowest threshold above which at most 1 - specificity of the negative samples lie.

    A sample counts as positive if its score is above the threshold.

    Args:
        scores: of validation samples, ``(N,)``.
        y: their labels, 0 or 1, ``(N,)``.
        specificity: share of the negative samples that must lie at or below it, in (0, 1].

    Returns:
        A score of a negative sample; NaN if there is none.

    Examples:
        >>> threshold_at(torch.tensor([0.75, 0.5, 0.25, 0.125]), torch.tensor([1, 0, 1, 0]), specificity=0.5)
        0.125
    """
    low = scores.double().cpu()[~y.cpu().bool()].sort().values
    if not len(low):
        return math.nan
    return float(low[max(0, math.ceil(specificity * len(low) - 1e-9) - 1)])


def rates_at(scores: Tensor, y: Tensor, threshold: float) -> tuple[float, float]:
    """Compute sensitivity and specificity of the rule "above the threshold".

    Args:
        scores, y: see :func:`delong`.
        threshold: see :func:`threshold_at`.

    Returns:
        The shares of positive samples above it and of negative ones at or below it; NaN if there are none.

    Examples:
        >>> rates_at(torch.tensor([0.75, 0.5, 0.25, 0.125]), torch.tensor([1, 0, 1, 0]), threshold=0.25)
        (0.5, 0.5)
    """
    given, true = scores.double().cpu() > threshold, y.cpu().bool()
    return float(given[true].double().mean()), float((~given[~true]).double().mean())


def calibration_error(p: Tensor, y: Tensor, bins: int = 15) -> float:
    """Compute the expected calibration error of probabilities: sum_b |B_b| / N |mean p - mean y| over equal bins.

    Args:
        p: probabilities, ``(N,)``.
        y: 0 or 1, ``(N,)``.
        bins: of equal width in [0, 1].

    References:
        M. P. Naeini, G. F. Cooper, M. Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning",
        AAAI 2015.

    Examples:
        >>> calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([1, 0]))
        0.25
    """
    p, y = p.double().cpu(), y.double().cpu()
    place = (p * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.double).index_add(0, place, p - y)
    return float(gap.abs().sum() / len(p))
