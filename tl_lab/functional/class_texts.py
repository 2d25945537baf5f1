"""Classes described by texts: directions of the classes, and offsets that correct for neutral texts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_directions", "contextual_calibration", "neutral_bias"]


def class_directions(embeddings: Sequence[Tensor]) -> Tensor:
    """Average the descriptions of each class on the sphere: the mean of their unit vectors, scaled to length 1.

    Args:
        embeddings: of the descriptions of each class, ``(M_c, D)``.

    Returns:
        ``(C, D)``, each of length 1.

    Examples:
        >>> class_directions([torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    return F.normalize(torch.stack([F.normalize(of_class).mean(0) for of_class in embeddings]))


def neutral_bias(directions: Tensor, neutral: Tensor) -> Tensor:
    """Compute offsets that make all classes equal for neutral texts: minus the mean cosines of these texts.

    Args:
        directions: of the classes, ``(C, D)``, of length 1.
        neutral: embeddings of texts without content, ``(M, D)``.

    Returns:
        ``(C,)``, the mean over the texts.

    Examples:
        >>> [round(bias, 3) for bias in neutral_bias(torch.eye(2), torch.tensor([[3.0, 4.0]])).tolist()]
        [-0.6, -0.8]
    """
    return -(F.normalize(neutral) @ directions.T).mean(0)


def contextual_calibration(log_p: Tensor, neutral: Tensor) -> Tensor:
    """Divide the probabilities of labels by those that inputs without content have, and normalise them.

    q = softmax(log p - log mean p_neutral): W = diag(p_neutral)^-1 and b = 0.

    Args:
        log_p: log-probabilities of the labels, ``(N, C)``, up to one constant per row.
        neutral: the same for inputs without content, ``(M, C)``.

    Returns:
        log q, ``(N, C)``.

    References:
        Z. Zhao et al., "Calibrate Before Use: Improving Few-Shot Performance of Language Models", ICML 2021, section 5.
        https://arxiv.org/abs/2102.09690

    Examples:
        >>> log_p, neutral = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([[0.6, 0.4]]).log()
        >>> [round(p, 3) for p in contextual_calibration(log_p, neutral).exp()[0].tolist()]
        [0.727, 0.273]
    """
    return (log_p.log_softmax(1) - neutral.softmax(1).mean(0).log()).log_softmax(1)
