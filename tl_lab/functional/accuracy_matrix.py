"""Metrics of a stream of tasks, computed from the matrix of accuracies.

R is ``(T, T)``: R[i, j], counted from 1, is the accuracy on task j after learning task i; NaN if it was not measured.
The leading k by k block gives the same metrics after k tasks. A metric is NaN if it depends on an entry that is NaN;
transfer and forgetting are also NaN if T = 1. All metrics are computed in double precision.

The literature uses these names for several definitions; compare values only if their definitions agree.

References:
    Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, NIPS 2017, section 2.
    Chaudhry, Dokania, Ajanthan and Torr, Riemannian Walk for Incremental Learning, ECCV 2018.
"""

import math

import torch
from torch import Tensor

__all__ = ["average_accuracy", "backward_transfer", "forgetting", "forward_transfer"]


def average_accuracy(accuracies: Tensor) -> float:
    """Average accuracy over all tasks after the last one: ACC = 1/T sum_i R[T, i].

    All tasks have the same weight, whatever their numbers of test samples. Van de Ven's code reports this metric; the
    average incremental accuracy of class-incremental learning also averages over the rows of R.

    Args:
        accuracies: R, ``(T, T)``, T >= 1.

    Returns:
        In the range of the accuracies.

    References:
        Lopez-Paz and Ranzato, NIPS 2017, section 2: ACC.

    Examples:
        >>> average_accuracy(torch.tensor([[1.0, 0.25], [0.75, 0.5]]))
        0.625
    """
    return float(accuracies[-1].double().mean())


def backward_transfer(accuracies: Tensor) -> float:
    """Change in the accuracy on earlier tasks due to later ones: BWT = 1/(T-1) sum_{i<T} R[T, i] - R[i, i].

    It is negative if tasks are forgotten. Some papers report -BWT as forgetting, which differs from
    :func:`forgetting` if a task has its best accuracy in another row than its own.

    Args:
        accuracies: R, ``(T, T)``.

    Returns:
        In [-1, 1] for accuracies in [0, 1].

    References:
        Lopez-Paz and Ranzato, NIPS 2017, section 2: BWT.

    Examples:
        >>> backward_transfer(torch.tensor([[1.0, 0.25], [0.75, 0.5]]))
        -0.25
    """
    r = accuracies.double()
    return float((r[-1] - r.diagonal())[:-1].mean())


def forward_transfer(accuracies: Tensor, baseline: Tensor) -> float:
    """Effect of earlier tasks on one that is not yet learned: FWT = 1/(T-1) sum_{i=2..T} R[i-1, i] - b_i.

    It is meaningful only if a head can classify samples of a task before it was trained on it.

    Args:
        accuracies: R, ``(T, T)``, with the accuracy on each task before it is learned, R[i-1, i].
        baseline: b, ``(T,)``, accuracies of the randomly initialised network; the first one is not used.

    Returns:
        In [-1, 1] for accuracies in [0, 1].

    References:
        Lopez-Paz and Ranzato, NIPS 2017, section 2: FWT.

    Examples:
        >>> forward_transfer(torch.tensor([[1.0, 0.25], [0.75, 0.5]]), baseline=torch.tensor([0.5, 0.125]))
        0.125
    """
    return float((accuracies.double().diagonal(1) - baseline[1:].double()).mean())


def forgetting(accuracies: Tensor) -> float:
    """Drop of earlier tasks below their best accuracy: F = 1/(T-1) sum_{j<T} max_{j<=l<T} R[l, j] - R[T, j].

    It is negative if they improved. The maximum is taken over the rows from the task's own to the last but one: the
    paper defines a[l, j] for tasks j <= l, which have been learned by then. Accuracies before the task was learned and
    NaN are ignored. Other definitions include the last row, so that forgetting is never negative, or use only the
    task's own row, which gives minus :func:`backward_transfer`.

    Args:
        accuracies: R, ``(T, T)``.

    Returns:
        In [-1, 1] for accuracies in [0, 1].

    References:
        Chaudhry et al., ECCV 2018, equation 3 and the average F_k over tasks.

    Examples:
        >>> forgetting(torch.tensor([[1.0, 0.25], [0.75, 0.5]]))
        0.25
    """
    r = accuracies.double()
    if len(r) < 2:
        return math.nan
    learned = torch.ones_like(r[:-1, :-1], dtype=torch.bool).tril()  # row l, task j <= l
    counted = learned & ~r[:-1, :-1].isnan()
    best = r[:-1, :-1].masked_fill(~counted, -math.inf).amax(0)
    best = best.masked_fill(~counted.any(0), math.nan)
    return float((best - r[-1, :-1]).mean())
