"""Weights of several tasks that are learned together, computed from their losses."""

import torch
from torch import Tensor

__all__ = ["dynamic_weights", "gradnorm_gradient", "uncertainty_objective"]


def uncertainty_objective(losses: Tensor, log_variances: Tensor, numbers: Tensor) -> Tensor:
    """Weight each task by its noise, which is learned with the network.

    With s_t = log sigma_t^2 the objective is the sum over the tasks of exp(-s_t) L_t / 2 + s_t / 2 for predicted
    numbers, and of exp(-s_t) L_t + s_t / 2 for classes. For a fixed loss the first is minimal at sigma^2 = L, the
    second at sigma^2 = 2 L.

    Args:
        losses: L, of each task, ``(T,)``; 0 for a task that has no labels in a batch.
        log_variances: s, ``(T,)``.
        numbers: whether each task predicts numbers, ``(T,)``, bool.

    Returns:
        A scalar.

    References:
        A. Kendall, Y. Gal, R. Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
        Semantics", CVPR 2018, equations 7 and 10. https://arxiv.org/abs/1705.07115

    Examples:
        >>> losses, numbers = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
        >>> float(uncertainty_objective(losses, torch.zeros(2), numbers))
        2.5
    """
    half = torch.where(numbers, 0.5, 1.0)
    return (half * torch.exp(-log_variances) * losses + log_variances / 2).sum()


def dynamic_weights(last: Tensor, before: Tensor, temperature: float = 2.0) -> Tensor:
    """Dynamic weight average: larger weights for tasks that improve less.

    w_t = T exp(r_t / temperature) / sum_k exp(r_k / temperature) with r_t = last_t / before_t.

    Args:
        last: mean loss of each task in the epoch before, ``(T,)``, above 0.
        before: mean losses in the epoch before that, ``(T,)``, above 0.
        temperature: above 0; a large one makes the weights equal.

    Returns:
        Weights, ``(T,)``, whose sum is T.

    References:
        S. Liu, E. Johns, A. J. Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, equation 7.
        https://arxiv.org/abs/1803.10704

    Examples:
        >>> weights = dynamic_weights(last=torch.tensor([1.0, 0.5]), before=torch.tensor([1.0, 1.0]))
        >>> [round(weight, 3) for weight in weights.tolist()]
        [1.124, 0.876]
    """
    return len(last) * torch.softmax(last / before.clamp(min=torch.finfo(before.dtype).tiny) / temperature, 0)


def gradnorm_gradient(weights: Tensor, norms: Tensor, losses: Tensor, first: Tensor, alpha: float = 1.5) -> Tensor:
    """Differentiate GradNorm's loss with respect to the weights.

    The loss is the sum over the tasks of |w_t n_t - mean_k(w_k n_k) r_t^alpha|, where the second term is a constant for
    gradients and r_t is the ratio of the task's loss to its first loss, divided by the mean ratio: tasks that have
    learned less get larger gradients.

    Args:
        weights: w, ``(T,)``.
        norms: n, of the gradients of the unweighted losses, ``(T,)``.
        losses: of each task now, ``(T,)``.
        first: of each task at the first update, ``(T,)``, above 0.
        alpha: how strongly the tasks' rates are tied together, at least 0; 0 makes the weighted norms equal.

    Returns:
        The gradient, ``(T,)``.

    References:
        Z. Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML
        2018, equations 1 and 2. https://arxiv.org/abs/1711.02257

    Examples:
        >>> gradnorm_gradient(torch.ones(2), torch.tensor([1.0, 3.0]), torch.ones(2), first=torch.ones(2)).tolist()
        [-1.0, 3.0]
    """
    share = losses / first.clamp(min=torch.finfo(first.dtype).tiny)
    rate = share / share.mean()
    weighted = weights * norms
    return torch.sign(weighted - weighted.mean() * rate**alpha) * norms
