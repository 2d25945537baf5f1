"""Scores of predictions without labels, as proxies for the accuracy on unlabelled data.

All take class probabilities. Higher values are usually better, except for the entropy. None is a guarantee: a
classifier that predicts a single class is also confident.
"""

import torch
from torch import Tensor

from tl_lab.functional.precision import in_full_precision

__all__ = ["entropy", "information_maximisation", "mean_entropy", "soft_neighbourhood_density"]


@in_full_precision
def entropy(p: Tensor) -> Tensor:
    """Entropy of each row of probabilities, with a finite gradient even if one of them is 0.

    Args:
        p: probabilities, ``(..., C)``, rows sum to 1.

    Returns:
        Nats, ``(...)``, in [0, ln C].

    Examples:
        >>> [round(nats, 3) for nats in entropy(torch.tensor([[0.5, 0.5], [0.25, 0.75]])).tolist()]
        [0.693, 0.562]
    """
    # a saturated softmax underflows to 0, where the derivative of p log p is infinite, and infinity times 0 is NaN
    return -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(-1)


def mean_entropy(p: Tensor) -> Tensor:
    """Mean entropy of the predictions, 1/N sum_i H(p_i); lower for more certain predictions.

    Args:
        p: probabilities, ``(N, C)``, rows sum to 1.

    Returns:
        Nats, in [0, ln C].

    Examples:
        >>> round(float(mean_entropy(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))), 3)
        0.628
    """
    return entropy(p).mean()


@in_full_precision
def information_maximisation(p: Tensor) -> Tensor:
    """Mutual information between input and prediction: H(mean_i p_i) - mean_i H(p_i); higher is better.

    Args:
        p: probabilities, ``(N, C)``, rows sum to 1.

    Returns:
        Nats, in [0, ln C]; ln C when every prediction is certain and the classes are equally frequent.

    References:
        Shi and Sha, Information-Theoretical Learning of Discriminative Clusters, ICML 2012, equation 6.

    Examples:
        >>> round(float(information_maximisation(torch.eye(2))), 3)
        0.693
    """
    return entropy(p.mean(0)) - mean_entropy(p)


@in_full_precision
def soft_neighbourhood_density(p: Tensor, temperature: float = 0.05) -> Tensor:
    """Mean entropy of each sample's similarity to all others; higher is better.

    Rows of p are scaled to unit length; S_ij is the softmax over j != i of <p_i, p_j> / temperature.

    Args:
        p: probabilities, ``(N, C)``, N >= 2.
        temperature: > 0 (paper: 0.05).

    Returns:
        Nats, in [0, ln(N - 1)].

    References:
        Saito et al., Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood
        Density, ICCV 2021, equations 1 to 3.

    Examples:
        >>> p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(float(soft_neighbourhood_density(p, temperature=1.0)), 3)
        0.975
    """
    unit = p / p.norm(dim=1, keepdim=True)
    similarity = unit @ unit.T / temperature
    others = ~torch.eye(len(p), dtype=torch.bool, device=p.device)
    return entropy(similarity[others].view(len(p), -1).softmax(1)).mean()
