"""Left singular vectors and squared singular values of a matrix of features, up to its rank."""

import torch
from torch import Tensor

__all__ = ["left_basis"]


def left_basis(x: Tensor, exact: bool = True) -> tuple[Tensor, Tensor]:
    """Decompose ``x = U S V'``, without singular values that are zero up to rounding.

    Args:
        x: ``(N, D)``, double.
        exact: use the singular value decomposition; otherwise the eigenvectors of the smaller one of ``x x'`` and
            ``x'x``, which is several times faster but loses singular values below 1e-7 of the largest.

    Returns:
        U ``(N, r)`` and the squared singular values ``(r,)``, with the rank r.

    Examples:
        >>> left, squares = left_basis(torch.diag(torch.tensor([2.0, 1.0, 0.0], dtype=torch.double)))
        >>> tuple(left.shape), [round(value, 3) for value in squares.tolist()]
        ((3, 2), [4.0, 1.0])
    """
    eps = torch.finfo(x.dtype).eps
    if not min(x.shape):
        return x[:, :0], x.new_zeros(0)
    if exact:
        left, values, _ = torch.linalg.svd(x, full_matrices=False)
        kept = values > max(x.shape) * eps * values[0]
        return left[:, kept], values[kept].square()
    wide = x.shape[1] > len(x)
    squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = squares > max(x.shape) * eps * squares[-1]
    squares, vectors = squares[kept], vectors[:, kept]
    return vectors if wide else x @ vectors / squares.sqrt(), squares
