"""Similarity of two representations of the same samples: linear CKA."""

from torch import Tensor

__all__ = ["linear_cka"]


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Linear centred kernel alignment, ``|Y'X|^2 / (|X'X| |Y'Y|)`` with Frobenius norms of centred features.

    Args:
        x: ``(N, D)``.
        y: ``(N, E)``, of the same samples.

    Returns:
        In [0, 1]; 1 for representations that are equal up to rotation, scale and shift; 0 if one is constant.

    Raises:
        ValueError: the numbers of samples differ.

    References:
        Kornblith, Norouzi, Lee and Hinton, Similarity of Neural Network Representations Revisited, ICML 2019,
        equation 5.

    Examples:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
        >>> round(linear_cka(x, 2 * x + 1), 3)
        1.0
    """
    if len(x) != len(y):
        raise ValueError(f"CKA compares representations of the same samples, not of {len(x)} and {len(y)}")
    a, b = (one.detach().cpu().double().flatten(1) for one in (x, y))
    a, b = a - a.mean(0), b - b.mean(0)
    if max(a.shape[1], b.shape[1]) > len(a):  # the kernels are the smaller matrices
        kernel_a, kernel_b = a @ a.T, b @ b.T
        cross, norm = (kernel_a * kernel_b).sum(), kernel_a.norm() * kernel_b.norm()
    else:
        cross, norm = (b.T @ a).square().sum(), (a.T @ a).norm() * (b.T @ b).norm()
    return float(cross / norm) if float(norm) > 0 else 0.0
