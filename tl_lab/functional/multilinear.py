"""The multilinear map of features and predictions, exact or by random projections."""

import torch
from torch import Tensor

__all__ = ["multilinear_map", "randomised_multilinear_map"]


def multilinear_map(f: Tensor, g: Tensor) -> Tensor:
    """Outer product of each sample's features and predictions, flattened: T(f, g) = f x g.

    Args:
        f: features, ``(B, D)``.
        g: predictions, ``(B, C)``.

    Returns:
        ``(B, D C)``.

    References:
        Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018, equation 3.

    Examples:
        >>> multilinear_map(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])).tolist()
        [[3.0, 4.0, 6.0, 8.0]]
    """
    return torch.einsum("bd,bc->bdc", f, g).flatten(1)


def randomised_multilinear_map(f: Tensor, g: Tensor, map_f: Tensor, map_g: Tensor) -> Tensor:
    """Random projection of the outer product: T(f, g) = (R_f f) * (R_g g) / sqrt(d), elementwise.

    For matrices of independent entries with mean 0 and variance 1, E <T(f, g), T(f', g')> = <f, f'> <g, g'>.

    Args:
        f: features, ``(B, D)``.
        g: predictions, ``(B, C)``.
        map_f: R_f, ``(d, D)``.
        map_g: R_g, ``(d, C)``.

    Returns:
        ``(B, d)``.

    References:
        Long et al., NeurIPS 2018, equations 4 and 5.

    Examples:
        >>> f, g = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
        >>> randomised_multilinear_map(f, g, map_f=torch.ones(1, 2), map_g=torch.ones(1, 2)).tolist()
        [[21.0]]
    """
    return (f @ map_f.T) * (g @ map_g.T) / len(map_f) ** 0.5
