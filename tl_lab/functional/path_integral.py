"""Synaptic intelligence: each parameter's contribution to the decrease of the loss, and its importance.

References:
    Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["add_path_contributions", "path_contributions", "path_importance"]


def path_contributions(gradients: Sequence[Tensor | None], changes: Sequence[Tensor]) -> list[Tensor]:
    """Contribution of each parameter's step to the decrease of the loss, to first order: omega_k = -g_k dtheta_k.

    Args:
        gradients: g, of the task's loss before the step, any shapes; None (no gradient) counts as 0. The authors'
            code uses the loss without the penalty.
        changes: dtheta, parameters after the step minus before, of the same shapes.

    Returns:
        One tensor per parameter; their total approximates the loss before the step minus the loss after it.

    References:
        Zenke et al., ICML 2017, equations 1 to 3.

    Examples:
        >>> path_contributions([torch.tensor([2.0]), None], [torch.tensor([-0.5]), torch.tensor([1.0])])
        [tensor([1.]), tensor([0.])]
    """
    pairs = zip(gradients, changes, strict=True)
    return [torch.zeros_like(change) if g is None else -g * change for g, change in pairs]


def add_path_contributions(
    sums: Sequence[Tensor], gradients: Sequence[Tensor | None], changes: Sequence[Tensor]
) -> None:
    """Add a step's contributions to their running sums, in place: see :func:`path_contributions`.

    Sums of half-precision parameters are kept in single precision, because in half they soon stop growing.

    Examples:
        >>> sums = [torch.tensor([0.25])]
        >>> add_path_contributions(sums, gradients=[torch.tensor([2.0])], changes=[torch.tensor([-0.5])])
        >>> sums[0].tolist()
        [1.25]
    """
    triples = [(s, g, change) for s, g, change in zip(sums, gradients, changes, strict=True) if g is not None]
    if triples:
        into = [s for s, _, _ in triples]
        by, times = ([triple[i].to(triple[0].dtype) for triple in triples] for i in (1, 2))
        torch._foreach_addcmul_(into, by, times, value=-1)


def path_importance(
    sums: Sequence[Tensor],
    displacement: Sequence[Tensor],
    damping: float,
    earlier: Sequence[Tensor] | None = None,
    clamp: bool = False,
) -> list[Tensor]:
    """Importance after a task: Omega_k = Omega_k of earlier tasks + omega_k / (Delta_k^2 + xi).

    The paper's penalty is c sum_k Omega_k (theta_k - theta~_k)^2, without a factor 1/2. An omega below 0, of a
    parameter whose path increased the loss, enters equation 5 unchanged; after adding each task, the authors' code sets
    every Omega below 0 to 0.

    Args:
        sums: omega, the contributions summed over the task's steps, any shapes.
        displacement: Delta, parameters after the task minus before, of the same shapes.
        damping: xi, > 0, in squared units of the parameters (authors: 0.1 for permuted MNIST, 0.001 for CIFAR).
        earlier: Omega of the tasks before, of the same shapes; None for 0.
        clamp: set negative values of Omega to 0, as the authors' code does.

    Returns:
        New tensors with the types of the displacement.

    References:
        Zenke et al., ICML 2017, equations 4 and 5.

    Examples:
        >>> path_importance([torch.tensor([1.0])], displacement=[torch.tensor([-0.5])], damping=0.25)[0].tolist()
        [2.0]
    """
    importance = [omega / (delta.square() + damping) for omega, delta in zip(sums, displacement, strict=True)]
    if earlier is not None:
        torch._foreach_add_(importance, list(earlier))
    if clamp:
        torch._foreach_clamp_min_(importance, 0.0)
    return [values.to(delta.dtype) for values, delta in zip(importance, displacement, strict=True)]
