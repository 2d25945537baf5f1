"""Knowledge distillation: a student imitates the softened outputs of a teacher."""

from torch import Tensor
from torch.nn.functional import cross_entropy, pad, softmax

__all__ = ["distillation_loss"]


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float, scaled: bool = False) -> Tensor:
    """Cross-entropy from the softened teacher to the softened student, averaged over samples.

    -1/B sum_b sum_k q^t_bk log q^s_bk with q = softmax(z / T). Its gradient is (q^s - q^t) / (T B), or
    T (q^s - q^t) / B if scaled by T^2, so that its size hardly depends on high temperatures. Learning without
    forgetting does not scale it, and neither does van de Ven's code; Hinton et al. scale it if they add a loss on true
    labels.

    Args:
        logits: z of the student, ``(B, K)``.
        teacher_logits: z of the teacher, ``(B, K')``, K' <= K; a constant for gradients. Classes after the first K'
            have probability 0, as in van de Ven's code; pass only the first K' logits of the student to exclude new
            classes.
        temperature: T, > 0 (learning without forgetting: 2).
        scaled: multiply by T^2.

    Returns:
        A scalar, at least the mean entropy of the teacher's probabilities (times T^2 if scaled).

    References:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2; Li and Hoiem, Learning
        without Forgetting, TPAMI 40 (2018), section 3.

    Examples:
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
        >>> round(float(distillation_loss(student, teacher, temperature=2.0)), 3)
        0.693
        >>> round(float(distillation_loss(teacher, teacher, temperature=2.0)), 3)
        0.582
    """
    missing = logits.shape[1] - teacher_logits.shape[1]
    assert missing >= 0
    target = pad(softmax(teacher_logits.detach() / temperature, dim=1), (0, missing))
    loss = cross_entropy(logits / temperature, target)
    return loss * temperature**2 if scaled else loss
