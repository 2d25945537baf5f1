"""Agreement of two rankings in which mistakes at the top weigh most."""

import numpy as np

__all__ = ["weighted_tau"]


def weighted_tau(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weighted Kendall tau of many pairs of rankings at once, as ``scipy.stats.weightedtau(x, y, rank=None)`` of each.

    tau = sum_{i < j} w_ij sgn(x_i - x_j) sgn(y_i - y_j) / sqrt(sum w_ij [x_i != x_j] sum w_ij [y_i != y_j]) with
    w_ij = 1 / (r_i + 1) + 1 / (r_j + 1), where r is the rank by x from the largest on, ties ranked by y.

    Args:
        x: ``(B, K)``; its largest values weigh most.
        y: ``(B, K)``.

    Returns:
        ``(B,)``, in [-1, 1]; NaN where x or y is constant.

    References:
        Vigna, A Weighted Correlation Index for Rankings with Ties, WWW 2015.

    Examples:
        >>> x = np.array([[3.0, 2.0, 1.0]])
        >>> weighted_tau(x, x).tolist(), weighted_tau(x, -x).tolist()
        ([1.0], [-1.0])
    """
    order = np.lexsort((-y, -x), axis=-1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(x.shape[1])[None], axis=1)
    weight = 1 / (rank + 1)
    weights = weight[:, :, None] + weight[:, None]  # (B, K) -> (B, K, K)
    signs = [np.sign(one[:, :, None] - one[:, None]) for one in (x, y)]
    untied = [(weights * np.abs(one)).sum((1, 2)) for one in signs]
    with np.errstate(invalid="ignore"):
        return (weights * signs[0] * signs[1]).sum((1, 2)) / np.sqrt(untied[0] * untied[1])
