"""Contrastive learning: features of two views of a sample become similar, those of different samples dissimilar."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["nt_xent"]


def nt_xent(left: Tensor, right: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Compute the normalised temperature-scaled cross-entropy (NT-Xent) of pairs of views.

    -1/2B sum_i log exp(cos(z_i, z_j) / T) / sum_{k != i} exp(cos(z_i, z_k) / T) over all 2 B views i with partner j
    (equation 1 of SimCLR).

    Args:
        left: z of one view of each sample, ``(B, D)``.
        right: of the other view, ``(B, D)``.
        temperature: T, > 0.

    Returns:
        The loss, a scalar (log(2 B - 1) if all views are equal), and the share of views whose partner is the most
        similar one.

    References:
        T. Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
        https://arxiv.org/abs/2002.05709

    Examples:
        >>> loss, found = nt_xent(torch.eye(2), torch.eye(2), temperature=1.0)
        >>> round(float(loss), 3), float(found)
        (0.551, 1.0)
    """
    count = len(left)
    z = F.normalize(torch.cat([left, right]), dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(float("-inf"))  # (2B, 2B)
    partner = torch.arange(2 * count, device=z.device).roll(count)
    found = (scores.argmax(1) == partner).float().mean()
    return F.cross_entropy(scores, partner), found
