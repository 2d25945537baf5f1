"""Pooling of token vectors into one vector per text."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Pooling", "mixed", "pooled"]

Pooling = Literal["mean", "cls", "last"]


def pooled(states: Tensor, mask: Tensor, pooling: Pooling = "mean") -> Tensor:
    """Pool the vectors of each text's tokens.

    Args:
        states: ``(B, L, D)``.
        mask: 1 at tokens of the text, 0 at padding, ``(B, L)``.
        pooling: ``mean``: over the tokens of the text (0 if it has none), ``cls``: the first token, ``last``: the last
            token of the text.

    Returns:
        ``(B, D)``.

    Examples:
        >>> pooled(torch.tensor([[[1.0], [3.0], [9.0]]]), mask=torch.tensor([[1, 1, 0]])).tolist()
        [[2.0]]
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        places = torch.arange(mask.shape[1], device=mask.device)
        last = (places * mask).argmax(1)  # (B, L) -> (B,)
        return states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
    weights = mask.unsqueeze(2).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def mixed(layers: Sequence[Tensor], scores: Tensor, scale: Tensor) -> Tensor:
    """Mix the states of a network's layers: ``scale * sum_l softmax(scores)_l h_l`` (equation 1 of ELMo).

    Args:
        layers: states h_l of L layers, each ``(..., D)``.
        scores: ``(L,)``.
        scale: gamma, ``()``.

    Returns:
        ``(..., D)``.

    References:
        M. E. Peters et al., "Deep Contextualized Word Representations", NAACL 2018. https://arxiv.org/abs/1802.05365

    Examples:
        >>> mixed([torch.tensor([1.0]), torch.tensor([3.0])], scores=torch.zeros(2), scale=torch.tensor(1.0)).tolist()
        [2.0]
    """
    return scale * torch.einsum("l,l...->...", scores.softmax(0), torch.stack(list(layers)))
