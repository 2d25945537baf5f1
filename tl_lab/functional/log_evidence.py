"""LogME: the evidence of a Bayesian linear model of the labels given features."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tl_lab.functional.spectra import left_basis

__all__ = ["gaussian_evidence", "logme"]

_GRID = 161  # ratios tried first, over the whole range
_SPAN = 30.0  # natural logarithms on either side of the features' own scale
_ROUNDS = 60  # of the golden section


def logme(features: Tensor, labels: Tensor, exact: bool = True) -> float:
    """Log maximum evidence per sample, averaged over the classes that occur; higher is better.

    Each class is a column ``y = 1[label = c]``; see :func:`gaussian_evidence`. Features are used as they are, neither
    centred nor scaled.

    Args:
        features: ``(N, D)``; N may be below D.
        labels: classes ``(N,)``, int64.
        exact: see :func:`~tl_lab.functional.spectra.left_basis`.

    Returns:
        Nats per sample, of either sign.

    Raises:
        ValueError: there is one class only, or a feature is not finite.

    References:
        You, Liu, Wang and Long, LogME: Practical Assessment of Pre-trained Models for Transfer Learning, ICML 2021,
        section 4. Classes without samples are left out, and evidence is exact where N < D.

    Examples:
        >>> features = torch.tensor([[1.0], [1.1], [-1.0], [-1.1]])
        >>> labels, shuffled = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> logme(features, labels) > logme(features, shuffled)
        True
    """
    present = labels.unique()
    if len(present) < 2:
        raise ValueError("LogME compares classes, but the labels have only one")
    targets = (labels[:, None] == present[None, :]).double()
    return float(gaussian_evidence(features, targets, exact)[0].mean())


def gaussian_evidence(features: Tensor, targets: Tensor, exact: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Maximise ``log N(y; 0, F F' / alpha + I / beta) / N`` over alpha and beta, for each column y.

    With F = U S V', ``z = U'y`` and t = alpha / beta, the best beta is N / (sum_i z_i^2 / (1 + s_i^2 / t) + |y|^2 -
    |z|^2), so that the search is over t alone.

    Args:
        features: F, ``(N, D)``.
        targets: ``(N, K)``, columns y; classes as 0 and 1, or numbers.
        exact: see :func:`~tl_lab.functional.spectra.left_basis`.

    Returns:
        The evidence of each column in nats per sample, ``(K,)``, and alpha and beta where it is largest, ``(K,)``.

    Raises:
        ValueError: there is no sample, or a value is not finite.

    Examples:
        >>> features = torch.tensor([[1.0], [2.0], [3.0], [4.5]])
        >>> targets = torch.tensor([[2.1], [3.9], [6.1], [9.0]])
        >>> evidence, alpha, beta = gaussian_evidence(features, targets)
        >>> [round(value, 2) for value in evidence.tolist()]
        [-0.29]
    """
    f, y = features.detach().cpu().double(), targets.detach().cpu().double()
    if not len(f) or not bool(f.isfinite().all() and y.isfinite().all()):
        raise ValueError("features and targets must be finite, with at least one sample")
    left, spectrum = left_basis(f, exact)
    z2 = (left.T @ y).square()  # (r, K)
    rest = (y.square().sum(0) - z2.sum(0)).clamp(min=0)  # (K,)
    floor = 1e-12 * y.square().sum(0).clamp(min=torch.finfo(torch.float64).tiny)

    def evidence(log_t: Tensor) -> tuple[Tensor, Tensor]:  # (..., K) -> two of that shape
        ratio = spectrum[:, None] / log_t.exp()[..., None, :]  # (..., r, K)
        residual = ((z2 / (1 + ratio)).sum(-2) + rest).clamp(min=floor)
        beta = len(y) / residual
        value = -ratio.log1p().sum(-2) / 2 + len(y) / 2 * (beta.log() - 1 - math.log(2 * math.pi))
        return value / len(y), beta

    centre = math.log(float(spectrum.mean())) if len(spectrum) else 0.0
    best = _maximum(lambda log_t: evidence(log_t)[0], centre, y.shape[1])
    value, beta = evidence(best)
    return value, best.exp() * beta, beta


def _maximum(function: Callable[[Tensor], Tensor], centre: float, columns: int) -> Tensor:
    """Maximise a function of one number for each column: the best of a grid, then a golden section around it."""
    grid = torch.linspace(centre - _SPAN, centre + _SPAN, _GRID, dtype=torch.float64)
    values = torch.stack([function(point.expand(columns)) for point in grid])  # (G, K)
    step, middle = float(grid[1] - grid[0]), grid[values.argmax(0)]
    low, high, golden = middle - step, middle + step, (math.sqrt(5) - 1) / 2
    for _ in range(_ROUNDS):
        first, second = high - golden * (high - low), low + golden * (high - low)
        better = function(first) > function(second)
        low, high = torch.where(better, low, first), torch.where(better, second, high)
    return (low + high) / 2
