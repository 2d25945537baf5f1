"""Gradient projection of averaged gradient episodic memory (A-GEM)."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["project_gradient"]


def project_gradient(
    gradient: Sequence[Tensor | None], reference: Sequence[Tensor | None]
) -> tuple[list[Tensor | None], bool]:
    """Remove the component of a gradient that would increase the loss on the reference.

    If g . g_ref < 0, the result is g~ = g - (g . g_ref / g_ref . g_ref) g_ref, the vector nearest to g with
    g~ . g_ref = 0; otherwise it is g. The tensors are parts of one vector, with one angle for all of them.

    Args:
        gradient: g, of the current batch: one tensor per parameter, of any shape. None (no gradient) counts as 0.
        reference: g_ref, of a batch from memory, of the same shapes. None counts as 0.

    Returns:
        The gradient, and whether it was projected. If it was, the tensors are new, and a parameter whose gradient is
        None receives the part of the reference; it is None only if both are. Otherwise they are the given tensors.

    References:
        Chaudhry et al., Efficient Lifelong Learning with A-GEM, ICLR 2019, equation 11.

    Examples:
        >>> projected, changed = project_gradient([torch.tensor([1.0, -1.0])], [torch.tensor([0.0, 1.0])])
        >>> projected[0].tolist(), changed
        ([1.0, 0.0], True)
    """
    pairs = list(zip(gradient, reference, strict=True))
    products = [(g * ref).sum(dtype=torch.float64) for g, ref in pairs if g is not None and ref is not None]
    product = float(torch.stack(products).sum()) if products else 0.0
    if not product < 0:
        return list(gradient), False
    # in double precision, because the square of a small gradient would be 0 in single precision
    norms = [torch.linalg.vector_norm(ref, dtype=torch.float64) for ref in reference if ref is not None]
    square = float(torch.stack(norms).square().sum())
    return [_minus(g, product / square, ref) for g, ref in pairs], True


def _minus(g: Tensor | None, factor: float, ref: Tensor | None) -> Tensor | None:
    if ref is None:
        return g
    return -factor * ref if g is None else g.sub(ref, alpha=factor)
