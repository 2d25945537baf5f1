"""Gradients of several tasks: their agreement, and combinations of conflicting ones.

Each combination is a weighted sum of the tasks' gradients, with coefficients that depend only on the gradients' inner
products, ``gram[i, j] = g_i . g_j``.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["cagrad", "gradient_cosines", "gram_matrix", "pcgrad"]

_TINY = 1e-20


def gram_matrix(gradients: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Compute the inner products of gradients.

    Args:
        gradients: of each of T tasks, one tensor per parameter; None (no gradient) counts as 0.

    Returns:
        ``(T, T)`` in double precision, on the CPU.

    Examples:
        >>> gram_matrix([[torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])]]).tolist()
        [[1.0, -1.0], [-1.0, 2.0]]
    """
    count = len(gradients)
    gram = torch.zeros(count, count, dtype=torch.float64)
    for i in range(count):
        for j in range(i + 1):
            pairs = zip(gradients[i], gradients[j], strict=True)
            products = [(a * b).sum(dtype=torch.float64) for a, b in pairs if a is not None and b is not None]
            gram[i, j] = gram[j, i] = float(torch.stack(products).sum()) if products else 0.0
    return gram


def gradient_cosines(gram: Tensor) -> Tensor:
    """Compute the cosines between the tasks' gradients, ``(T, T)``; NaN if one of the two is 0.

    Args:
        gram: inner products, ``(T, T)``.

    Examples:
        >>> cosines = gradient_cosines(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]))
        >>> [[round(value, 3) for value in row] for row in cosines.tolist()]
        [[1.0, -0.707], [-0.707, 1.0]]
    """
    norms = gram.diagonal().sqrt()
    return (gram / (norms[:, None] * norms)).clamp(-1, 1)


def pcgrad(gram: Tensor, orders: Sequence[Sequence[int]]) -> Tensor:
    """Remove from each task's gradient the components that conflict with other tasks, and add the results.

    A copy g of g_i is compared with the other gradients in turn; if it conflicts with g_j (g . g_j < 0), the component
    (g . g_j / g_j . g_j) g_j is subtracted. Without conflicts the result is the sum of the gradients.

    Args:
        gram: inner products of the gradients, ``(T, T)``.
        orders: for each task, the order in which it is compared with the others.

    Returns:
        Coefficient of each gradient in the result, ``(T,)``.

    References:
        T. Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, algorithm 1.
        https://arxiv.org/abs/2001.06782

    Examples:
        >>> pcgrad(torch.tensor([[1.0, -1.0], [-1.0, 2.0]]), orders=[[1], [0]]).tolist()
        [2.0, 1.5]
    """
    total = torch.zeros(len(gram), dtype=gram.dtype)
    for i, order in enumerate(orders):
        own = torch.zeros(len(gram), dtype=gram.dtype)
        own[i] = 1
        for j in order:
            product = float(own @ gram[:, j])
            if j != i and product < 0 and float(gram[j, j]) > _TINY:
                own[j] -= product / gram[j, j]
        total += own
    return total


def cagrad(gram: Tensor, aversion: float = 0.4) -> Tensor:
    """Maximise the improvement of the task that improves least, near the mean gradient.

    Let g_0 be the mean gradient. Over directions d with |d - g_0| <= c |g_0|, the smallest g_t . d is maximal at d =
    g_0 + (sqrt(phi) / |g_w|) g_w, where g_w = sum_t w_t g_t, phi = c^2 |g_0|^2, and w minimises g_w . g_0 + sqrt(phi)
    |g_w| over the simplex. The result here is T d, which is the sum of the gradients for c = 0.

    Args:
        gram: inner products of the gradients, ``(T, T)``.
        aversion: c, in [0, 1).

    Returns:
        Coefficient of each gradient in T d, ``(T,)``.

    References:
        B. Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, algorithm 1.
        https://arxiv.org/abs/2110.14048

    Examples:
        >>> gram = torch.tensor([[1.0, -0.5], [-0.5, 4.0]], dtype=torch.double)
        >>> [round(value, 2) for value in cagrad(gram, aversion=0.4).tolist()]
        [1.8, 1.0]
    """
    from scipy.optimize import minimize

    count = len(gram)
    scale = float(gram.diagonal().mean())
    ones = torch.ones(count, dtype=gram.dtype)
    if count == 1 or aversion == 0 or scale <= _TINY:
        return ones
    g = gram.numpy() / scale  # scaled to inner products near 1, which suit the tolerances of the search
    mean = np.full(count, 1 / count)
    root = aversion * float(np.sqrt(max(mean @ g @ mean, 0.0)))

    def value(w: np.ndarray) -> float:
        return float(w @ g @ mean + root * np.sqrt(max(w @ g @ w, 0.0) + 1e-12))

    found = minimize(
        value,
        mean,
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 200},
    )
    norm = float(np.sqrt(max(found.x @ g @ found.x, 0.0)))
    if norm * norm <= _TINY:
        return ones
    return ones + count * root / norm * torch.from_numpy(found.x).to(gram)
