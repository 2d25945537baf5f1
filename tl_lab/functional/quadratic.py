"""Quadratic penalties with one precision per parameter: as a loss, and merged from many into one."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["merge_quadratics", "quadratic_penalty"]


class _QuadraticPenalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, centres: list[Tensor], precisions: list[Tensor], *parameters: Tensor) -> Tensor:
        distances = torch._foreach_sub(parameters, centres)
        gradients = torch._foreach_mul(distances, precisions)
        ctx.save_for_backward(*parameters, *gradients)
        ctx.constants = centres, precisions
        # a pairwise sum is as fast as a dot product, whose error is 1e-5 for a million terms
        torch._foreach_mul_(distances, gradients)
        return torch.stack([terms.sum() for terms in distances]).sum() / 2

    @staticmethod
    def backward(ctx: Any, *output: Tensor) -> tuple[Tensor | None, ...]:
        half = len(ctx.saved_tensors) // 2
        parameters, gradients = ctx.saved_tensors[:half], ctx.saved_tensors[half:]
        # a second derivative is requested, and the stored gradients do not depend on the parameters
        if torch.is_grad_enabled():
            triples = zip(parameters, *ctx.constants, strict=True)
            return None, None, *(f * (p - c) * output[0] for p, c, f in triples)
        return None, None, *torch._foreach_mul(gradients, output[0])


def quadratic_penalty(parameters: Sequence[Tensor], centres: Sequence[Tensor], precisions: Sequence[Tensor]) -> Tensor:
    """Penalise the distance from centres, weighted parameter by parameter: 1/2 sum_i F_i (theta_i - c_i)^2.

    EWC multiplies it by lambda. Its gradient, F_i (theta_i - c_i), is stored when the value is computed.

    Args:
        parameters: tensors theta of any shapes, at least one.
        centres: c, of the same shapes; constants for gradients.
        precisions: F, of the same shapes; constants for gradients.

    Returns:
        A scalar; >= 0 if no precision is negative.

    References:
        Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 114 (2017), equation 3.

    Examples:
        >>> parameters, precisions = [torch.tensor([1.0, 2.0])], [torch.tensor([2.0, 0.5])]
        >>> float(quadratic_penalty(parameters, [torch.zeros(2)], precisions))
        2.0
    """
    return _QuadraticPenalty.apply(list(centres), list(precisions), *parameters)


def merge_quadratics(
    precision_a: Tensor, centre_a: Tensor, precision_b: Tensor, centre_b: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Write the sum of two quadratics as one: 1/2 A (x-a)^2 + 1/2 B (x-b)^2 = 1/2 (A+B) (x-m)^2 + constant.

    m = (A a + B b) / (A + B) and constant = 1/2 sum_i A_i B_i / (A_i + B_i) (a_i - b_i)^2, which is free of
    cancellation. The penalties of any number of tasks, one per task in EWC, can be merged pair by pair, in any order;
    with the constants added up, the total value is unchanged.

    Args:
        precision_a: A, any shape, >= 0.
        centre_a: a, of the same shape.
        precision_b: B, of the same shape, >= 0.
        centre_b: b, of the same shape.

    Returns:
        The precision A + B, the centre m (b where A + B = 0) and the constant, a scalar >= 0. All are computed in
        double precision; the precision and the centre are returned in the dtype of the inputs.

    References:
        Kirkpatrick et al., PNAS 114 (2017), which adds up one penalty an old task.

    Examples:
        >>> merged = merge_quadratics(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(3.0), torch.tensor(4.0))
        >>> [float(part) for part in merged]
        [4.0, 3.0, 6.0]
    """
    a, b = precision_a.double(), precision_b.double()
    total = a + b
    share = torch.where(total == 0, 0.0, a / total)
    centre = torch.lerp(centre_b.double(), centre_a.double(), share)  # equal centres are unchanged to the last bit
    constant = (share * b * (centre_a.double() - centre_b.double()).square()).sum() / 2
    return total.to(precision_a.dtype), centre.to(centre_a.dtype), constant
