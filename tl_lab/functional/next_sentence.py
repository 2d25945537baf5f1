"""BERT's second objective: whether a second text follows the first."""

import torch
from torch import Tensor

__all__ = ["draw_seconds", "halves"]


def draw_seconds(count: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose a second text for each of N first texts: its own with probability 1/2, otherwise another's.

    Args:
        count: N; a single text keeps its own.
        draw: the random stream.

    Returns:
        The index of the second text for each first one, ``(N,)``, and whether it is its own, ``(N,)``, boolean.

    References:
        J. Devlin et al., "BERT", NAACL 2019, section 3.1, task 2. https://arxiv.org/abs/1810.04805

    Examples:
        >>> whose, follows = draw_seconds(4, torch.Generator().manual_seed(0))
        >>> bool(((whose == torch.arange(4)) == follows).all())
        True
    """
    own = torch.arange(count)
    follows = torch.rand(count, generator=draw) < 0.5
    if count == 1:
        return own, torch.ones_like(follows)
    others = (own + torch.randint(1, count, (count,), generator=draw)) % count
    return torch.where(follows, own, others), follows


def halves(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Cut a text in the middle into two that follow each other; the first has one more of an odd number of tokens.

    Args:
        tokens: ``(L,)``.

    Examples:
        >>> halves(torch.tensor([5, 6, 7]))
        (tensor([5, 6]), tensor([7]))
    """
    middle = -(-len(tokens) // 2)
    return tokens[:middle], tokens[middle:]
