"""Joint adaptation network: maximum mean discrepancy of several layers' joint distribution."""

import functools
import operator
from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Len
from torch import cat

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.domain_adaptation.mmd import OUTPUTS, check_kernels, representation
from tl_lab.errors import UserError
from tl_lab.functional import gaussian_kernel, mmd_linear, mmd_unbiased
from tl_lab.options import BatchNorm, NonNegative, Positive

__all__ = ["JMMD"]


class JMMD(DomainAdaptation):
    """Align the joint distributions of several layers: MMD^2 under the product of the layers' kernels.

    Args:
        weight: weight of the term, >= 0 (paper: 1, ramped up).
        align: the layers: ``features``, ``logits``, ``probabilities``, names of modules; at least two.
        factors: multiples of each layer's bandwidth.
        bandwidth: ``median`` or ``mean`` squared distance over all pairs of the batch.
        estimator: ``unbiased`` over all pairs, or ``linear`` over disjoint pairs (paper's equation 10).
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight, fewer than two layers, or an unknown choice.

    References:
        Long et al., Deep Transfer Learning with Joint Adaptation Networks, ICML 2017, equations 7 to 10.
    """

    problems = frozenset({"single_label"})
    couples_samples = True
    needs_target_logits = True

    def __init__(
        self,
        weight: NonNegative = 1.0,
        align: Annotated[Sequence[str], Len(2)] = ("features", "probabilities"),
        factors: Annotated[Sequence[Positive], Len(1)] = (0.25, 0.5, 1.0, 2.0, 4.0),
        bandwidth: Literal["median", "mean"] = "median",
        estimator: Literal["unbiased", "linear"] = "unbiased",
        batch_norm: BatchNorm = "separate",
    ) -> None:
        super().__init__()
        check_kernels(factors, bandwidth)
        if estimator not in ("unbiased", "linear"):
            raise UserError(f"domain_adaptation.estimator must be 'unbiased' or 'linear', not {estimator!r}")
        if len(align) < 2:
            raise UserError(f"domain_adaptation.align must name two or more layers, not {list(align)}; for one use mmd")
        self.weight, self.align, self.factors = check_weight("weight", weight), tuple(align), tuple(factors)
        self.bandwidth, self.estimator = bandwidth, estimator
        self.batch_norm = check_batch_norm(batch_norm)
        self.layers = tuple(name for name in self.align if name not in OUTPUTS)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the joint discrepancy."""
        kernels = [
            gaussian_kernel(
                cat([representation(source, name), representation(target, name)]), self.factors, self.bandwidth
            )
            for name in self.align
        ]
        kernel = functools.reduce(operator.mul, kernels)  # the gradient of prod would wait for a GPU
        estimate = mmd_unbiased if self.estimator == "unbiased" else mmd_linear
        return Adaptation({"jmmd_loss": self.weight * estimate(kernel, len(source.features))})

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"JMMD": f"{self.estimator} on {', '.join(self.align)}", "batch-norm statistics": self.batch_norm}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, align={list(self.align)}, factors={list(self.factors)}, {self.estimator}"
