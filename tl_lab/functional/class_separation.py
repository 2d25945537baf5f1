"""Separation of classes by features, from covariances: H-score and TransRate."""

import torch
from torch import Tensor

from tl_lab.functional.spectra import left_basis

__all__ = ["h_score", "regularised_h_score", "transrate"]


def h_score(features: Tensor, labels: Tensor, exact: bool = True) -> float:
    """Trace of ``cov(f)^-1 cov(E[f | y])``: the variance between classes relative to the total; higher is better.

    With the left singular vectors U of the centred features it equals ``sum_c n_c |mean of U over class c|^2``, which
    avoids inverting a covariance that may be singular.

    Args:
        features: ``(N, D)``.
        labels: classes ``(N,)``.
        exact: see :func:`~tl_lab.functional.spectra.left_basis`.

    Returns:
        In [0, min(C - 1, rank)].

    Raises:
        ValueError: there is one class only, or no feature varies.

    References:
        Bao et al., An Information-Theoretic Approach to Transferability in Task Transfer Learning, ICIP 2019.

    Examples:
        >>> features = torch.tensor([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]])
        >>> round(h_score(features, torch.tensor([0, 0, 1, 1])), 3)
        1.0
    """
    left, _ = left_basis(_centred(features, labels), exact)
    means, counts = _class_means(left, labels)
    return float((counts * means.square().sum(1)).sum())


def regularised_h_score(features: Tensor, labels: Tensor, exact: bool = True) -> float:
    """H-score with the features' covariance shrunk towards a multiple of the identity (Ledoit and Wolf).

    ``(1 - s) trace(C_s^-1 cov(E[f | y]))`` with the shrunk covariance C_s and its shrinkage s, for few samples of many
    features.

    Args:
        features: ``(N, D)``.
        labels: classes ``(N,)``.
        exact: see :func:`~tl_lab.functional.spectra.left_basis`.

    Raises:
        ValueError: there is one class only, or no feature varies.

    References:
        Ibrahim, Ponomareva and Mazumder, Newer is Not Always Better: Rethinking Transferability Metrics, Their
        Peculiarities, Stability and Performance, ECML PKDD 2022, section 4.

    Examples:
        >>> features = torch.tensor([[0.0, 1.0], [0.0, -1.0], [2.0, 1.0], [2.0, -1.0]])
        >>> round(regularised_h_score(features, torch.tensor([0, 0, 1, 1])), 3)
        1.333
    """
    centred = _centred(features, labels)
    left, squares = left_basis(centred, exact)
    shrinkage, mean = _shrinkage(centred, squares)
    # the covariance of class means lies in the span of the features, where the shrunk covariance is diagonal
    spectrum = (1 - shrinkage) * squares / len(centred) + shrinkage * mean
    means, counts = _class_means(left * squares.sqrt(), labels)
    between = (counts[:, None] * means.square()).sum(0) / (len(centred) - 1)  # over N - 1, as published
    return float((1 - shrinkage) * (between / spectrum).sum())


def _shrinkage(centred: Tensor, squares: Tensor) -> tuple[float, float]:
    """Compute Ledoit and Wolf's shrinkage and the mean variance, from squared singular values, in O(N D).

    Args:
        centred: ``(N, D)``.
        squares: of its singular values.
    """
    n, d = centred.shape
    mean = float(squares.sum()) / (n * d)
    norm = float(squares.square().sum()) / n**2  # of the covariance, squared
    apart = (norm - d * mean**2) / d
    spread = (float(centred.square().sum(1).square().sum()) / n - norm) / (n * d)
    return (min(spread, apart) / apart if apart > 0 else 0.0), mean


def transrate(features: Tensor, labels: Tensor, epsilon: float = 1e-4) -> float:
    """Coding rate of the features minus that within classes: R(Z) - sum_c n_c / N R(Z_c); higher is better.

    R(Z) = 1/2 log det(I + Z'Z / (N epsilon)), on features centred over all samples.

    Args:
        features: ``(N, D)``.
        labels: classes ``(N,)``.
        epsilon: squared distortion, > 0.

    Returns:
        Nats.

    Raises:
        ValueError: there is one class only, or no feature varies.

    References:
        Huang et al., Frustratingly Easy Transferability Estimation, ICML 2022, equation 6.

    Examples:
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 1.0], [-1.0, 0.9], [0.0, -1.0], [0.0, -1.1]])
        >>> round(transrate(features, torch.tensor([0, 0, 1, 1, 2, 2])), 2)
        2.99
    """
    centred = _centred(features, labels)
    parts = [centred[labels == c] for c in labels.unique()]
    within = sum(len(part) / len(centred) * _coding_rate(part, epsilon) for part in parts)
    return float(_coding_rate(centred, epsilon) - within)


def _coding_rate(z: Tensor, epsilon: float) -> Tensor:
    """Compute the rate from the smaller one of Z'Z and ZZ', which give the same determinant."""
    product = z.T @ z if z.shape[1] <= len(z) else z @ z.T
    return torch.linalg.slogdet(torch.eye(len(product), dtype=z.dtype) + product / (len(z) * epsilon))[1] / 2


def _centred(features: Tensor, labels: Tensor) -> Tensor:
    f = features.detach().cpu().double()
    if len(labels.unique()) < 2:
        raise ValueError("class separation compares classes, but the labels have only one")
    centred = f - f.mean(0)
    if not bool(centred.abs().max() > 1e-12 * (1 + f.abs().max())):
        raise ValueError("no feature varies over the samples")
    return centred


def _class_means(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean of each class that occurs, ``(C, D)``, and its number of samples, ``(C,)``."""
    y = labels.cpu().unique(return_inverse=True)[1]
    indicator = torch.nn.functional.one_hot(y).to(values)  # (N, C)
    counts = indicator.sum(0)
    return indicator.T @ values / counts[:, None], counts
