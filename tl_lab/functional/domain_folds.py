"""Proxy A-distance with an interval, from folds."""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.functional.domain_distance import a_distance
from tl_lab.randomness import generator

__all__ = ["FoldedDistance", "folded_a_distance"]


class FoldedDistance(NamedTuple):
    """Proxy A-distance over folds.

    Attributes:
        distance: of the mean accuracy, in [0, 2].
        low, high: 95 % interval by Student's t over the folds, in [0, 2].
        accuracies: of the domain classifier on each fold.

    Examples:
        >>> source = torch.linspace(0, 1, 20)[:, None]
        >>> folded_a_distance(source, source + 5).accuracies
        (1.0, 1.0, 1.0, 1.0, 1.0)
    """

    distance: float
    low: float
    high: float
    accuracies: tuple[float, ...]


def folded_a_distance(
    source: Tensor, target: Tensor, folds: int = 5, max_samples: int = 1000, seed: int = 0
) -> FoldedDistance:
    """Proxy A-distance 2 (1 - 2 err) of a linear domain classifier, by cross-validation.

    Equal numbers of samples are drawn from both domains, and each fold contains as many of one as of the other.
    Features are standardised by the training folds. The training sets overlap, so that the interval is slightly too
    narrow.

    Args:
        source: features ``(N, D)``.
        target: features ``(M, D)``.
        folds: >= 2.
        max_samples: of each domain.
        seed: of the draw.

    Raises:
        ValueError: a domain has fewer samples than folds, or a feature is not finite.

    Examples:
        >>> source = torch.linspace(0, 1, 20)[:, None]
        >>> found = folded_a_distance(source, source + 5)
        >>> found.distance, found.low < 2.0
        (2.0, True)
    """
    from scipy.special import stdtrit
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    count = min(len(source), len(target), max_samples)
    if count < folds:
        raise ValueError(f"{folds} folds need as many samples of each domain, and one has {count}")
    drawn = []
    for name, features in (("source", source), ("target", target)):
        order = torch.randperm(len(features), generator=generator(seed, "folds", name))[:count]
        drawn.append(features.detach().cpu().double()[order])
    x, domain = torch.cat(drawn).numpy(), np.repeat([0, 1], count)
    if not np.isfinite(x).all():
        raise ValueError("features contain NaN or infinity")
    fold = np.tile(np.arange(count) % folds, 2)
    accuracies = []
    for k in range(folds):
        train, test = x[fold != k], x[fold == k]
        centre, spread = train.mean(0), train.std(0)
        spread = np.where(spread > 1e-8 * (1 + np.abs(centre)), spread, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged boundary is sufficient
            classifier = LogisticRegression(max_iter=100, tol=1e-3).fit((train - centre) / spread, domain[fold != k])
        accuracies.append(float((classifier.predict((test - centre) / spread) == domain[fold == k]).mean()))
    mean = float(np.mean(accuracies))
    half = float(stdtrit(folds - 1, 0.975) * np.std(accuracies, ddof=1) / folds**0.5)
    # even folds of equal accuracy have a finite number of samples
    half = max(half, 1.96 * (max(mean * (1 - mean), 1 / (8 * count)) / (2 * count)) ** 0.5)
    return FoldedDistance(a_distance(mean), a_distance(mean - half), a_distance(mean + half), tuple(accuracies))
