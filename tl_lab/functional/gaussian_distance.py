"""Distances between Gaussians, and from them between data sets with labels."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["bures", "frechet_distance", "otdd"]


def bures(mean_a: Tensor, root_a: Tensor, mean_b: Tensor, root_b: Tensor) -> float:
    """Squared 2-Wasserstein distance between two Gaussians, from roots of their covariances, ``S = R'R``.

    ``|m_a - m_b|^2 + tr(S_a) + tr(S_b) - 2 tr (S_a^1/2 S_b S_a^1/2)^1/2``, whose last trace is the sum of the singular
    values of ``R_a R_b'``: no square root of a matrix of the features' size is computed.

    Args:
        mean_a, mean_b: ``(D,)``.
        root_a, root_b: ``(r, D)``, any number of rows, such as centred samples over sqrt(n).

    Returns:
        >= 0.

    Examples:
        >>> bures(torch.zeros(1), torch.ones(1, 1), torch.tensor([3.0]), torch.tensor([[2.0]]))
        10.0
    """
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    spread = root_a.square().sum() + root_b.square().sum() - 2 * cross
    return float((mean_a - mean_b).square().sum() + spread.clamp(min=0))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance between two sets of features, each modelled as Gaussian (covariance over n - 1).

    It is biased upwards for small sets: compare sets of equal size, or compare with the distance between two halves of
    one set.

    Args:
        a: ``(N, D)``, N >= 2.
        b: ``(M, D)``, M >= 2.

    Raises:
        ValueError: a set has fewer than two samples.

    References:
        Heusel et al., GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, NIPS 2017.

    Examples:
        >>> round(frechet_distance(torch.tensor([[-1.0], [1.0]]), torch.tensor([[2.0], [4.0]])), 3)
        9.0
    """
    return bures(*_moments(a), *_moments(b))


def otdd(x_a: Tensor, y_a: Tensor, x_b: Tensor, y_b: Tensor) -> float:
    """Squared optimal transport distance of two labelled data sets of equal size, by exact assignment.

    A sample (x, y) is moved to (x', y') at the cost ``|x - x'|^2 + W^2(y, y')`` with the 2-Wasserstein distance W
    between the features of the two classes, modelled as Gaussians. The names of the classes are not used.

    Args:
        x_a, x_b: features, ``(N, D)`` each.
        y_a, y_b: classes, ``(N,)`` each, of any numbers; the data sets' classes may differ.

    Returns:
        The mean cost of the cheapest assignment, >= 0; 0 if the sets are equal.

    Raises:
        ValueError: the data sets differ in size, or are empty.

    References:
        Alvarez-Melis and Fusi, Geometric Dataset Distances via Optimal Transport, NeurIPS 2020, equation 5.

    Examples:
        >>> x, y = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
        >>> round(otdd(x, y, x, 1 - y), 3), round(otdd(x, y, x + 1, y), 3)
        (0.0, 2.0)
    """
    from scipy.optimize import linear_sum_assignment

    if len(x_a) != len(x_b) or not len(x_a):
        raise ValueError(f"an exact assignment needs sets of equal size, not {len(x_a)} and {len(x_b)} samples")
    a, b = x_a.detach().cpu().double(), x_b.detach().cpu().double()
    names_a, names_b = (y.cpu().unique(return_inverse=True)[1] for y in (y_a, y_b))
    classes_a = [_class_moments(a[names_a == c]) for c in range(int(names_a.max()) + 1)]
    classes_b = [_class_moments(b[names_b == c]) for c in range(int(names_b.max()) + 1)]
    between = torch.tensor([[bures(*one, *other) for other in classes_b] for one in classes_a], dtype=torch.float64)
    cost = (
        torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square() + between[names_a][:, names_b]
    ).numpy()
    return float(np.mean(cost[linear_sum_assignment(cost)]))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean and a root of the covariance with as few rows as possible."""
    x = x.detach().cpu().double()
    if len(x) < 2:
        raise ValueError("a covariance needs two samples of each set")
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return x.mean(0), torch.linalg.qr(centred, mode="r")[1] if len(x) > x.shape[1] else centred


def _class_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return (x[0], torch.zeros_like(x)) if len(x) < 2 else _moments(x)
