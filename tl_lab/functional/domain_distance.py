"""Distance between two domains, measured by a linear classifier."""

import warnings

import numpy as np
import torch
from torch import Tensor

from tl_lab.randomness import generator

__all__ = ["a_distance", "halves", "linear_domain_accuracy"]


def a_distance(accuracy: float) -> float:
    """Proxy A-distance 2 (1 - 2 err) from the error of a domain classifier on held-out samples.

    Args:
        accuracy: 1 - err, in [0, 1], with equal weights of the domains.

    Returns:
        From 0 for a classifier at or below chance (clipped) to 2 for one that is always correct.

    References:
        Ben-David, Blitzer, Crammer and Pereira, Analysis of Representations for Domain Adaptation, NIPS 2006,
        section 4; Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), equation 3.

    Examples:
        >>> a_distance(0.5), a_distance(0.75), a_distance(1.0)
        (0.0, 1.0, 2.0)
    """
    return float(min(2.0, max(0.0, 2 * (1 - 2 * (1 - accuracy)))))


def linear_domain_accuracy(source: Tensor, target: Tensor, max_samples: int = 2000, seed: int = 0) -> float:
    """Accuracy of a linear domain classifier on held-out samples.

    Equal numbers of samples are drawn from both domains; a logistic regression (L2, C = 1) is fitted to half of each,
    on features standardised by that half, and scored on the other half. With n samples per domain, the standard error
    is at most 0.5 / sqrt(n), and that of the A-distance four times as large.

    Args:
        source: features, ``(N, D)``.
        target: features, ``(M, D)``.
        max_samples: of each domain, >= 2.
        seed: of the draw.

    Returns:
        In [0, 1]; about 0.5 for equal distributions.

    Raises:
        ValueError: a domain has fewer than two samples, or a feature is not finite.

    Examples:
        >>> source = torch.linspace(0, 1, 20)[:, None]
        >>> linear_domain_accuracy(source, source + 5)
        1.0
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    fitted, scored = halves(source, target, max_samples, seed)
    train, test = torch.cat(fitted), torch.cat(scored)
    centre, spread = train.mean(0), train.std(0, correction=0)
    # a feature that varies only in the scored half would otherwise be scaled up without bound
    spread = torch.where(spread > 1e-8 * (1 + centre.abs()), spread, torch.ones_like(spread))
    domain = np.repeat([0, 1], len(fitted[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged boundary is sufficient
        classifier = LogisticRegression(max_iter=300).fit(((train - centre) / spread).numpy(), domain)
    return float((classifier.predict(((test - centre) / spread).numpy()) == domain).mean())


def halves(source: Tensor, target: Tensor, max_samples: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Draw equal numbers of samples from both domains, half of them for fitting and half for scoring.

    Args:
        source: ``(N, D)``.
        target: ``(M, D)``.
        max_samples: of each domain, >= 2.
        seed: of the draw.

    Returns:
        The first half of each domain, then the second, in double precision on the CPU.

    Raises:
        ValueError: a domain has fewer than two samples, or a value is not finite.

    Examples:
        >>> source = torch.arange(5.0)[:, None]
        >>> fitted, scored = halves(source, source + 10, max_samples=4, seed=0)
        >>> [tuple(part.shape) for part in (*fitted, *scored)]
        [(2, 1), (2, 1), (2, 1), (2, 1)]
    """
    count = min(len(source), len(target), max_samples) // 2 * 2
    if count < 2:
        raise ValueError(f"two samples of each domain are needed, not {len(source)} and {len(target)}")
    fitted, scored = [], []
    for name, features in (("source", source), ("target", target)):
        order = torch.randperm(len(features), generator=generator(seed, "a_distance", name))[:count]
        drawn = features.detach().cpu().double()[order]
        if not bool(drawn.isfinite().all()):
            raise ValueError(f"features of the {name} contain NaN or infinity")
        fitted.append(drawn[: count // 2])
        scored.append(drawn[count // 2 :])
    return fitted, scored
