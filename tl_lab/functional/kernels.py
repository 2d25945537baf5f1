"""Gaussian kernels and the distances between distributions that they measure."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.functional.distances import expanded_distances

__all__ = ["gaussian_kernel", "mmd_linear", "mmd_unbiased", "squared_distances"]


def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances between all rows of ``(N, D)``: ``(N, N)``, >= 0, 0 on the diagonal.

    At least in single precision.

    Examples:
        >>> squared_distances(torch.tensor([[0.0], [3.0]])).tolist()
        [[0.0, 9.0], [9.0, 0.0]]
    """
    return expanded_distances(x, x).masked_fill(torch.eye(len(x), dtype=torch.bool, device=x.device), 0.0)


def gaussian_kernel(x: Tensor, factors: Sequence[float] = (1.0,), bandwidth: str = "median") -> Tensor:
    """Sum of Gaussian kernels between all rows: K_ij = sum_u exp(-|x_i - x_j|^2 / (u m)).

    m is the median (or mean) squared distance over all pairs i < j; it is a constant for gradients.

    Args:
        x: samples of all domains, ``(N, D)``, N >= 2.
        factors: multiples u of m, each > 0, one for each kernel.
        bandwidth: ``median`` or ``mean``.

    Returns:
        ``(N, N)``, each in [0, number of factors].

    References:
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012), section 8, for the median.

    Examples:
        >>> kernel = gaussian_kernel(torch.tensor([[0.0], [1.0]]))
        >>> [[round(value, 3) for value in row] for row in kernel.tolist()]
        [[1.0, 0.368], [0.368, 1.0]]
    """
    distances = squared_distances(x)
    i, j = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    pairs = distances.detach()[i, j]
    if bandwidth == "median":
        ordered = pairs.sort().values  # the mean of the middle two, as usual; torch.median returns the lower one
        m = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    else:
        m = pairs.mean()
    m = m.clamp(min=torch.finfo(distances.dtype).tiny)  # all samples equal: every kernel is 1
    return torch.stack([torch.exp(-distances / (u * m)) for u in factors]).sum(0)


def mmd_unbiased(kernel: Tensor, n: int) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy from all pairs.

    MMD^2_u = sum_{i != j} k(x_i, x_j) / (n(n-1)) + sum_{i != j} k(y_i, y_j) / (m(m-1)) - 2 sum_ij k(x_i, y_j) / (nm)

    Args:
        kernel: k over x and y together, ``(n + m, n + m)``.
        n: samples of x, the first rows; at least 2, as the others.

    Returns:
        A scalar, which may be negative, although its expectation is >= 0.

    Raises:
        UserError: a domain has fewer than two samples.

    References:
        Gretton et al., JMLR 13 (2012), equation 3.

    Examples:
        >>> kernel = gaussian_kernel(torch.tensor([[0.0], [1.0], [5.0], [6.0]]))
        >>> round(float(mmd_unbiased(kernel, n=2)), 3)
        1.294
    """
    m = len(kernel) - n
    _check(n, m)
    within_x = (kernel[:n, :n].sum() - kernel[:n, :n].diagonal().sum()) / (n * (n - 1))
    within_y = (kernel[n:, n:].sum() - kernel[n:, n:].diagonal().sum()) / (m * (m - 1))
    return within_x + within_y - 2 * kernel[:n, n:].mean()


def mmd_linear(kernel: Tensor, n: int) -> Tensor:
    """Estimate of the squared maximum mean discrepancy from disjoint pairs of neighbours.

    2/n sum_i k(x_2i-1, x_2i) + k(y_2i-1, y_2i) - k(x_2i-1, y_2i) - k(x_2i, y_2i-1); a sample without a partner at
    the end is left out.

    Args:
        kernel: k over x and y together, ``(2n, 2n)``.
        n: samples of each domain, at least 2.

    Returns:
        A scalar, also unbiased, with a larger variance.

    Raises:
        UserError: a domain has fewer than two samples, or the domains' numbers differ.

    References:
        Gretton et al., JMLR 13 (2012), section 6, lemma 14; Long et al., ICML 2015, equation 5.

    Examples:
        >>> kernel = gaussian_kernel(torch.tensor([[0.0], [1.0], [5.0], [6.0]]))
        >>> round(float(mmd_linear(kernel, n=2)), 3)
        1.274
    """
    if len(kernel) != 2 * n:
        raise UserError(
            f"the linear estimate of MMD pairs the domains' samples, but a batch has {n} of the source and "
            f"{len(kernel) - n} of the target: use domain_adaptation.estimator=unbiased"
        )
    _check(n, n)
    odd = torch.arange(0, n - 1, 2, device=kernel.device)
    even = odd + 1
    terms = kernel[odd, even] + kernel[n + odd, n + even] - kernel[odd, n + even] - kernel[even, n + odd]
    return terms.mean()


def _check(n: int, m: int) -> None:
    if n < 2 or m < 2:
        raise UserError(
            f"MMD compares samples within each domain and needs two of each, but a batch has {n} of the source and "
            f"{m} of the target: raise data.batch_size"
        )
