"""Reservoir sampling: a buffer that holds a uniform sample of a stream of unknown length."""

import torch
from torch import Tensor

__all__ = ["reservoir_slots"]


def reservoir_slots(seen: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw the slots that the next samples of a stream take in a buffer, by algorithm R.

    The first ``size`` samples fill the buffer in order. For each later sample, the t-th, a number is drawn from
    {0, ..., t-1}: it is the sample's slot if it is less than ``size``; otherwise the sample is not stored. After N
    samples, each is in the buffer with probability size / N. One number is drawn per sample, so that the result does
    not depend on how the stream is cut into batches.

    Args:
        seen: number of earlier samples, >= 0.
        count: samples to place, >= 0.
        size: slots of the buffer, >= 0.
        generator: draws the numbers, which are uniform to within t / 2^63.

    Returns:
        ``(count,)``, integers in [0, size), each at most once, or -1 for a sample that is not stored or is replaced by
        a later one of the same call, so that ``buffer[slots[slots >= 0]] = batch[slots >= 0]`` is well defined.

    References:
        Vitter, Random Sampling with a Reservoir, ACM Transactions on Mathematical Software 11 (1985), section 2, who
        ascribes it to Alan Waterman.

    Examples:
        >>> draws = torch.Generator().manual_seed(0)
        >>> reservoir_slots(seen=0, count=2, size=4, generator=draws).tolist()
        [0, 1]
        >>> reservoir_slots(seen=100, count=1, size=0, generator=draws).tolist()
        [-1]
    """
    positions = torch.arange(seen, seen + count, device=generator.device)
    drawn = positions.clone()
    late = positions >= size
    numbers = torch.randint(2**63 - 1, (int(late.sum()),), generator=generator, device=generator.device)
    drawn[late] = numbers % (positions[late] + 1)
    return _last_of_each(torch.where(drawn < size, drawn, -1), size)


def _last_of_each(slots: Tensor, size: int) -> Tensor:
    order = torch.arange(len(slots), device=slots.device)
    winner = torch.full((size + 1,), -1, device=slots.device)  # the last entry is for -1
    winner.scatter_reduce_(0, slots % (size + 1), order, "amax")
    return torch.where(winner[slots] == order, slots, -1)
