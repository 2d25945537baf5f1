"""Sampling shares of several tasks whose sets differ in size."""

import torch
from torch import Tensor

__all__ = ["annealed_exponent", "sampling_shares"]


def sampling_shares(sizes: Tensor, exponent: float) -> Tensor:
    """Compute the sampling shares of tasks: n_t^exponent / sum_k n_k^exponent.

    Args:
        sizes: samples n of each task, ``(T,)``, above 0.
        exponent: 1 samples in proportion to the sizes, 0 samples all tasks equally; 1 / temperature lies between.

    Returns:
        Shares, ``(T,)``, double precision, whose sum is 1.

    Examples:
        >>> [round(share, 3) for share in sampling_shares(torch.tensor([100, 300]), exponent=1.0).tolist()]
        [0.25, 0.75]
        >>> sampling_shares(torch.tensor([100, 300]), exponent=0.0).tolist()
        [0.5, 0.5]
    """
    return torch.softmax(exponent * sizes.double().log(), 0)


def annealed_exponent(epoch: int, epochs: int, last: float = 0.2) -> float:
    """Compute an exponent that anneals sampling from proportional towards equal shares: 1 - (1 - last) e / (E - 1).

    Args:
        epoch: e, from 0.
        epochs: E, of the whole run.
        last: the exponent in the last epoch.

    References:
        A. C. Stickland, I. Murray, "BERT and PALs", ICML 2019, section 4.1. https://arxiv.org/abs/1902.02671

    Examples:
        >>> [round(annealed_exponent(epoch, epochs=5), 2) for epoch in range(5)]
        [1.0, 0.8, 0.6, 0.4, 0.2]
    """
    return 1 - (1 - last) * min(epoch, epochs - 1) / max(1, epochs - 1)
