"""Gradient reversal: the identity in the forward pass, the negated gradient in the backward pass."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["reverse_gradient"]


class _GradientReversal(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: float | Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float | Tensor], output: Tensor) -> None:
        ctx.weight = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reverse_gradient(x: Tensor, weight: float | Tensor) -> Tensor:
    """Pass a tensor on unchanged and multiply its gradient by minus the weight.

    R(x) = x, dR/dx = -weight I

    Args:
        x: any shape, floating point.
        weight: lambda, >= 0; 0 blocks the gradient. A tensor, ``()``, is a constant for gradients.

    Returns:
        A tensor equal to ``x``, of its shape and dtype.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), equations 16 and 17.

    Examples:
        >>> x = torch.ones(2, requires_grad=True)
        >>> reverse_gradient(x, weight=0.5).sum().backward()
        >>> x.grad.tolist()
        [-0.5, -0.5]
    """
    return _GradientReversal.apply(x, weight.detach() if isinstance(weight, Tensor) else float(weight))
