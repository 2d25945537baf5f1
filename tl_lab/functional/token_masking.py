"""Masked language modelling: the choice of masked tokens and their replacements."""

import torch
from torch import Tensor

__all__ = ["mask_tokens"]


def mask_tokens(
    ids: Tensor, candidates: Tensor, share: float, mask_id: int, vocabulary: int, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mask some tokens: of those chosen, 80 % become the mask token, 10 % a random one, and 10 % stay unchanged.

    Args:
        ids: ``(B, L)``, on the CPU.
        candidates: where a token may be chosen, ``(B, L)``, boolean (no padding, no special tokens).
        share: of the candidates that are chosen, in (0, 1]; each text loses at least one that it has.
        mask_id: of the mask token.
        vocabulary: number of ids.
        draw: the random stream.

    Returns:
        The ids that the network reads, ``(B, L)``, and where tokens were chosen, ``(B, L)``, boolean.

    References:
        J. Devlin et al., "BERT", NAACL 2019, section 3.1. https://arxiv.org/abs/1810.04805

    Examples:
        >>> ids, draw = torch.tensor([[1, 5, 6, 7]]), torch.Generator().manual_seed(0)
        >>> hidden, chosen = mask_tokens(ids, candidates=ids > 1, share=0.01, mask_id=0, vocabulary=10, draw=draw)
        >>> int(chosen.sum()), bool(chosen[0, 0]), bool((hidden == ids)[~chosen].all())
        (1, False, True)
    """
    chance = torch.rand(ids.shape, generator=draw).masked_fill(~candidates, 2.0)
    least = chance == chance.amin(1, keepdim=True)
    chosen = candidates & ((chance < share) | least)
    fate = torch.rand(ids.shape, generator=draw)
    others = torch.randint(vocabulary, ids.shape, generator=draw)
    hidden = ids.masked_fill(chosen & (fate < 0.8), mask_id)
    return torch.where(chosen & (fate >= 0.8) & (fate < 0.9), others, hidden), chosen
