"""Relative positions of words on a page as indices of embeddings."""

import math

import torch
from torch import Tensor

__all__ = ["relative_bucket"]


def relative_bucket(distance: Tensor, bins: int = 32, longest: int = 500) -> Tensor:
    """Assign bins to signed distances: one bin each for short ones, logarithmic bins up to the longest.

    Half of the bins are for distances of at least 0, half for those below. Of the n bins of each half, the first n / 2
    are for 0, 1, 2, ...; the widths of the others grow by a constant factor up to ``longest``, and all greater
    distances share the last one.

    Args:
        distance: whole numbers, of any shape.
        bins: an even number of at least 4.
        longest: distance from which the last bin begins.

    Returns:
        Bins, 0 to ``bins - 1``, int64.

    References:
        C. Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", JMLR 21,
        2020. https://arxiv.org/abs/1910.10683

    Examples:
        >>> relative_bucket(torch.tensor([0, 1, 7, 60, 9000, -1, -60])).tolist()
        [0, 1, 7, 11, 15, 17, 27]
    """
    half = bins // 2
    exact = half // 2
    size = distance.abs()
    share = torch.log(size.clamp(min=exact).double() / exact) / math.log(longest / exact)
    far = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance < 0).long()
