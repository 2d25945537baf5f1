"""WEAT: association of words with one of two attributes."""

import itertools
import math

import numpy as np
import torch
from torch import Tensor

__all__ = ["weat"]

_EXACT = 20_000  # splits up to which all are counted


def weat(x: Tensor, y: Tensor, a: Tensor, b: Tensor, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Word embedding association test: effect size and one-sided p.

    ``s(w) = mean cos(w, A) - mean cos(w, B)``; ``d = (mean_X s - mean_Y s) / std_{X u Y} s`` (n - 1). p is the share of
    the splits of X u Y into halves whose sum of s over the first is larger.

    Args:
        x, y: vectors of the target words, ``(K, D)`` each.
        a, b: vectors of the attribute words, ``(L, D)``, ``(M, D)``.
        draws: number of random splits if there are too many to count.
        seed: of the draws.

    Returns:
        d, approximately in [-2, 2], and p.

    Raises:
        ValueError: a set of words is empty.

    References:
        Caliskan, Bryson and Narayanan, Semantics Derived Automatically from Language Corpora Contain Human-like
        Biases, Science 356 (2017), supplement.

    Examples:
        >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])
        >>> effect, p = weat(x, y, a=torch.tensor([[1.0, 0.0]]), b=torch.tensor([[0.0, 1.0]]))
        >>> round(effect, 3), p
        (1.732, 0.0)
    """
    if min(map(len, (x, y, a, b))) < 1 or len(x) + len(y) < 3:
        raise ValueError("WEAT needs words in each of its four sets")
    unit = [
        torch.nn.functional.normalize(one.double(), dim=1) for one in (x.detach(), y.detach(), a.detach(), b.detach())
    ]
    both = torch.cat(unit[:2])
    s = ((both @ unit[2].T).mean(1) - (both @ unit[3].T).mean(1)).numpy()
    k = len(x)
    effect = float((s[:k].mean() - s[k:].mean()) / s.std(ddof=1))
    if math.comb(len(s), k) <= _EXACT:
        sums = np.array([s[list(part)].sum() for part in itertools.combinations(range(len(s)), k)])
        return effect, float((sums > s[:k].sum() + 1e-12).mean())
    draw = np.random.default_rng(seed)
    sums = np.array([draw.permutation(s)[:k].sum() for _ in range(draws)])
    return effect, float((1 + (sums >= s[:k].sum()).sum()) / (1 + draws))
