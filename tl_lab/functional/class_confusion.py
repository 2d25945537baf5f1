"""Class confusion, estimated from predictions on unlabelled samples."""

import torch
from torch import Tensor

from tl_lab.functional.label_free import entropy
from tl_lab.functional.precision import in_full_precision

__all__ = ["batch_nuclear_norm", "certainty_weights", "minimum_class_confusion"]


def certainty_weights(p: Tensor) -> Tensor:
    """Weights 1 + exp(-H(p_i)) of samples, which grow with the certainty of their predictions; not normalised.

    Args:
        p: probabilities, ``(B, C)``.

    Returns:
        ``(B,)``, in [1 + 1/C, 2].

    References:
        Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018, equation 7.

    Examples:
        >>> [round(weight, 3) for weight in certainty_weights(torch.tensor([[1.0, 0.0], [0.5, 0.5]])).tolist()]
        [2.0, 1.5]
    """
    return 1 + torch.exp(-entropy(p))


@in_full_precision
def minimum_class_confusion(logits: Tensor, temperature: float = 2.5) -> Tensor:
    """Share of the predictions' class correlation that lies between different classes.

    Y = softmax(logits / T); W_i = B w_i / sum_j w_j with w_i = 1 + exp(-H(Y_i)), a constant for gradients;
    C = Y' diag(W) Y, each row divided by its sum; the loss is the sum off the diagonal, divided by the number of
    classes.

    Args:
        logits: ``(B, C)``.
        temperature: T > 0 (paper: 2.5).

    Returns:
        A scalar in [0, 1).

    References:
        Jin et al., Minimum Class Confusion for Versatile Domain Adaptation, ECCV 2020, equations 2 to 6.

    Examples:
        >>> round(float(minimum_class_confusion(torch.zeros(4, 2))), 3)
        0.5
        >>> round(float(minimum_class_confusion(torch.tensor([[9.0, 0.0], [0.0, 9.0]]))), 3)
        0.052
    """
    p = (logits / temperature).softmax(1)
    weights = certainty_weights(p).detach()
    weights = len(p) * weights / weights.sum()
    confusion = (p * weights[:, None]).T @ p  # (C, C)
    # a class that has no probability in any prediction contributes 0
    confusion = confusion / confusion.sum(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
    return (confusion.sum() - confusion.diagonal().sum()) / logits.shape[1]


@in_full_precision
def batch_nuclear_norm(p: Tensor) -> Tensor:
    """Minus the nuclear norm of the predictions divided by the batch size: low if they are certain and diverse.

    Args:
        p: probabilities, ``(B, C)``.

    Returns:
        A scalar in [-1, 0).

    References:
        Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization under Label
        Insufficient Situations, CVPR 2020, equation 10.

    Examples:
        >>> round(float(batch_nuclear_norm(torch.eye(2))), 3)
        -1.0
        >>> round(float(batch_nuclear_norm(torch.full((2, 2), 0.5))), 3)
        -0.5
    """
    return -torch.linalg.matrix_norm(p, "nuc") / len(p)
