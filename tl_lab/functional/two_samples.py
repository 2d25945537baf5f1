"""Two-sample tests for each feature, for class counts, and for all features jointly."""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.functional.kernels import gaussian_kernel, mmd_unbiased
from tl_lab.randomness import generator

__all__ = ["FeatureTests", "chi2_counts", "detectable_shift", "enough_samples", "ks_features", "mmd_test"]


class FeatureTests(NamedTuple):
    """Kolmogorov-Smirnov tests of each feature.

    Attributes:
        statistic: D of each feature, ``(K,)``.
        p_values: uncorrected, ``(K,)``.
        p: of all features together, corrected for their number, in [0, 1].
        rejected: number of features that differ at the level, by the same correction.

    Examples:
        >>> x = torch.linspace(0, 1, 50)[:, None]
        >>> tests = ks_features(x, x + 0.5)
        >>> [round(d, 2) for d in tests.statistic.tolist()], tests.p < 0.001
        ([0.5], True)
    """

    statistic: np.ndarray
    p_values: np.ndarray
    p: float
    rejected: int


def ks_features(reference: Tensor, new: Tensor, correction: str = "bonferroni", alpha: float = 0.05) -> FeatureTests:
    """Test each feature separately, and correct for their number.

    Args:
        reference: ``(N, K)``.
        new: ``(M, K)``.
        correction: ``bonferroni`` (K times the smallest p) or ``fdr`` (the smallest p of Benjamini and Hochberg).
        alpha: level, in (0, 1), at which features are counted as different.

    Raises:
        ValueError: a set is empty, a value is not finite, or the correction is unknown.

    References:
        Rabanser, Guennemann and Lipton, Failing Loudly: An Empirical Study of Methods for Detecting Dataset Shift,
        NeurIPS 2019, section 3.2.

    Examples:
        >>> x = torch.linspace(0, 1, 50)[:, None]
        >>> tests = ks_features(torch.cat([x, x], 1), torch.cat([x, x + 0.5], 1))
        >>> tests.rejected
        1
    """
    from scipy.stats import false_discovery_control, ks_2samp

    a, b = _numbers(reference), _numbers(new)
    tests = [ks_2samp(a[:, k], b[:, k]) for k in range(a.shape[1])]
    statistic = np.array([float(test.statistic) for test in tests])
    p_values = np.array([float(test.pvalue) for test in tests])
    if correction == "bonferroni":
        corrected = np.minimum(1.0, len(p_values) * p_values)
    elif correction == "fdr":
        corrected = false_discovery_control(p_values, method="bh")
    else:
        raise ValueError(f"correction must be 'bonferroni' or 'fdr', not {correction!r}")
    return FeatureTests(statistic, p_values, float(corrected.min()), int((corrected < alpha).sum()))


def chi2_counts(reference: Tensor, new: Tensor, classes: int) -> tuple[float, float]:
    """Test whether predicted classes are as frequent in both sets, by Pearson's chi-squared test.

    Classes that occur in neither are left out: their expected count of 0 would make the statistic meaningless.

    Args:
        reference: classes ``(N,)``, int64.
        new: classes ``(M,)``, int64.
        classes: number of classes.

    Returns:
        The statistic and p; 0 and 1 if only one class occurs.

    Raises:
        ValueError: a set is empty.

    Examples:
        >>> y = torch.tensor([0] * 50 + [1] * 50)
        >>> chi2_counts(y, y, classes=2)
        (0.0, 1.0)
        >>> [round(value, 3) for value in chi2_counts(y, y[:60], classes=2)]
        [17.778, 0.0]
    """
    from scipy.stats import chi2_contingency

    if not len(reference) or not len(new):
        raise ValueError("the chi-squared test needs samples of both sets")
    table = np.stack([torch.bincount(y.cpu(), minlength=classes).numpy() for y in (reference, new)])
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 0.0, 1.0
    found = chi2_contingency(table, correction=False)
    return float(found.statistic), float(found.pvalue)


def mmd_test(x: Tensor, y: Tensor, permutations: int = 200, seed: int = 0) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy, and its p by permutations of the samples between the sets.

    The kernel is exp(-d^2 / m) with the median m of all squared distances; p = (1 + #{permuted >= found}) / (1 + P).

    Args:
        x: ``(N, D)``, N >= 2.
        y: ``(M, D)``, M >= 2.
        permutations: P, >= 1.
        seed: of the permutations.

    Returns:
        The estimate, which may be below 0, and p in [1 / (P + 1), 1].

    Raises:
        UserError: a set has fewer than two samples.

    References:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), equation 3 and section 5.

    Examples:
        >>> x = torch.linspace(0, 1, 20)[:, None]
        >>> mmd, p = mmd_test(x, x + 5, permutations=19)
        >>> round(mmd, 1), p
        (1.5, 0.05)
    """
    both = torch.cat([x.detach().cpu().double(), y.detach().cpu().double()])
    n, m = len(x), len(y)
    kernel = gaussian_kernel(both)
    found = float(mmd_unbiased(kernel, n))
    first = _splits(n, m, permutations, seed)
    product = kernel @ first
    within_x = (first * product).sum(0)  # with the diagonal, which is 1 everywhere
    towards = product.sum(0) - within_x
    within_y = kernel.sum() - within_x - 2 * towards
    permuted = (within_x - n) / (n * (n - 1)) + (within_y - m) / (m * (m - 1)) - 2 * towards / (n * m)
    # results of equal splits differ in the last bits
    return found, (1 + int((permuted >= found - 1e-12).sum())) / (1 + permutations)


def detectable_shift(n: int, m: int, alpha: float, power: float = 0.8) -> float:
    """Compute the smallest shift that a Kolmogorov-Smirnov test of two samples finds with a given power.

    With n' = n m / (n + m), the test rejects where the distribution functions of the samples differ by more than
    c = sqrt(ln(2 / alpha) / 2 n'). Their difference at one point has a standard deviation of at most 1 / (2 sqrt(n')),
    so that a true difference of D = c + z_power / (2 sqrt(n')) is found with at least this power. A shift of a normal
    quantity by d standard deviations has D = 2 Phi(d / 2) - 1.

    Args:
        n, m: sizes of the two samples, >= 1.
        alpha: level of the test, in (0, 1).
        power: in [0.5, 1).

    Returns:
        d, > 0; infinite if even samples without common values may not be told apart.

    References:
        Conover, Practical Nonparametric Statistics, 3rd edition, Wiley 1999, section 6.3 (asymptotic quantiles).

    Examples:
        >>> round(detectable_shift(100, 100, alpha=0.05), 2), detectable_shift(10, 3, alpha=0.05)
        (0.64, inf)
    """
    from scipy.special import ndtri

    difference = _difference_at_one(alpha, power) * math.sqrt((n + m) / (n * m))
    return 2 * float(ndtri((1 + difference) / 2)) if difference < 1 else math.inf


def enough_samples(n: int, shift: float, alpha: float, power: float = 0.8) -> int | None:
    """Compute the size of a second sample with which :func:`detectable_shift` is at most a given shift.

    Args:
        n: size of the first sample, >= 1.
        shift: in standard deviations, > 0.
        alpha, power: as in :func:`detectable_shift`.

    Returns:
        m; None if no number suffices, because the first sample is too small.

    Examples:
        >>> enough_samples(60, shift=1.0, alpha=0.05), enough_samples(20, shift=0.5, alpha=0.05)
        (34, None)
    """
    from scipy.special import ndtr

    needed = (_difference_at_one(alpha, power) / (2 * float(ndtr(shift / 2)) - 1)) ** 2  # n m / (n + m)
    return math.ceil(n * needed / (n - needed)) if n > needed else None


def _difference_at_one(alpha: float, power: float) -> float:
    """Compute the difference of two distribution functions that is found with n m / (n + m) = 1."""
    from scipy.special import ndtri

    return math.sqrt(math.log(2 / alpha) / 2) + float(ndtri(power)) / 2


@functools.lru_cache(maxsize=4)
def _splits(n: int, m: int, permutations: int, seed: int) -> Tensor:
    """Mark the n samples of the first set in each permutation, ``(n + m, P)``; several tests of one size share them."""
    draw = generator(seed, "mmd permutations")
    first = torch.zeros(n + m, permutations, dtype=torch.float64)
    for k in range(permutations):
        first[torch.randperm(n + m, generator=draw)[:n], k] = 1
    return first


def _numbers(x: Tensor) -> np.ndarray:
    x = x.detach().cpu().double()
    x = x[:, None] if x.dim() == 1 else x.flatten(1)
    if not len(x) or not bool(x.isfinite().all()):
        raise ValueError("each set needs at least one sample, with finite values")
    return x.numpy()
