"""Dependence of target labels on the predictions of a source classifier: LEEP and NCE."""

import torch
from torch import Tensor

__all__ = ["check_probabilities", "leep", "nce"]


def leep(probabilities: Tensor, labels: Tensor) -> float:
    """Log expected empirical prediction: mean_i log sum_z P(y_i | z) p_iz; at most 0, higher is better.

    P(y | z) is the share of class y in the samples' total source probability of z. Source classes without probability
    are ignored.

    Args:
        probabilities: p, of the source's classes, ``(N, Z)``, rows sum to 1.
        labels: target classes ``(N,)``, int64.

    Raises:
        ValueError: rows do not sum to one, or there is no sample.

    References:
        Nguyen, Hassner, Seeger and Archambeau, LEEP: A New Measure to Evaluate Transferability of Learned
        Representations, ICML 2020, equation 2.

    Examples:
        >>> p = torch.tensor([[0.75, 0.25], [0.25, 0.75]])
        >>> round(leep(p, torch.tensor([0, 1])), 3)
        -0.47
    """
    p = check_probabilities(probabilities)
    joint = _one_hot(labels).T @ p / len(p)  # (C, Z)
    mass = joint.sum(0)
    conditional = torch.where(mass > 0, joint / mass.clamp(min=torch.finfo(p.dtype).tiny), 0)
    expected = (p @ conditional.T).gather(1, labels.cpu().unique(return_inverse=True)[1][:, None])
    return float(expected.log().mean())


def nce(source_labels: Tensor, labels: Tensor) -> float:
    """Negative conditional entropy -H(Y | Z) of target labels given source labels; at most 0, higher is better.

    Args:
        source_labels: z, ``(N,)``, int64.
        labels: y, ``(N,)``, int64.

    Raises:
        ValueError: there is no sample.

    References:
        Tran, Nguyen and Hassner, Transferability and Hardness of Supervised Classification Tasks, ICCV 2019.

    Examples:
        >>> round(nce(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])), 3)
        -0.347
    """
    if not len(labels):
        raise ValueError("NCE needs at least one sample")
    joint = _one_hot(labels).T @ _one_hot(source_labels) / len(labels)
    conditional = joint / joint.sum(0)
    return float(torch.where(joint > 0, joint * conditional.clamp(min=1e-300).log(), 0).sum())


def check_probabilities(p: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Check rows of probabilities, and return them in double precision on the CPU.

    Args:
        p: ``(N, C)``.
        tolerance: largest deviation of a row's sum from 1.

    Raises:
        ValueError: there is no row, a value lies outside [0, 1], or a row does not sum to 1.

    Examples:
        >>> check_probabilities(torch.tensor([[0.25, 0.75]])).dtype
        torch.float64
    """
    p = p.detach().cpu().double()
    if p.dim() != 2 or not len(p):
        raise ValueError(f"probabilities must have one row per sample, (N, C), not the shape {tuple(p.shape)}")
    if not bool(((p >= -tolerance) & (p <= 1 + tolerance)).all()):  # NaN, too
        raise ValueError("probabilities must be between 0 and 1")
    if float((p.sum(1) - 1).abs().max()) > tolerance:
        raise ValueError(f"probabilities of each sample must sum to one; some sum to {float(p.sum(1).max()):.3g}")
    return p.clamp(0, 1)


def _one_hot(labels: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(labels.cpu().unique(return_inverse=True)[1]).double()
