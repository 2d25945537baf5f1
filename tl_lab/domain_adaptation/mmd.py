"""Deep adaptation network: maximum mean discrepancy with several kernels."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Len
from torch import Tensor, cat

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.errors import UserError
from tl_lab.functional import gaussian_kernel, mmd_linear, mmd_unbiased
from tl_lab.options import BatchNorm, NonNegative, Positive
from tl_lab.problems import ALL, SEVERAL

__all__ = ["MMD", "check_kernels", "representation"]

OUTPUTS = ("features", "logits", "probabilities")
"""Outputs of the network in addition to those of its named modules."""


def representation(output: DomainOutput, name: str) -> Tensor:
    """Return the aligned representation: features, logits, probabilities, or a named module's output, as ``(B, D)``."""
    if name == "features":
        return output.features
    if name in OUTPUTS:
        assert output.logits is not None
        return output.logits if name == "logits" else output.logits.softmax(1)
    return output.layers[name].flatten(1)


def check_kernels(factors: Sequence[float], bandwidth: str) -> None:
    """Check the options of the kernels.

    Raises:
        UserError: a factor is not above 0, or the bandwidth is unknown.
    """
    if not factors or not all(factor > 0 for factor in factors):
        raise UserError(f"domain_adaptation.factors must be one or more numbers above 0, not {list(factors)}")
    if bandwidth not in ("median", "mean"):
        raise UserError(f"domain_adaptation.bandwidth must be 'median' or 'mean', not {bandwidth!r}")


class MMD(DomainAdaptation):
    """Align the distributions of features: weight * sum over representations of MMD^2.

    The kernel is a sum of Gaussians whose widths are multiples of the median squared distance in the batch.

    Args:
        weight: weight of the term, >= 0 (paper: chosen from .1 to 10).
        align: aligned quantities: ``features``, ``logits``, ``probabilities``, names of modules (``backbone.conv2``).
        factors: multiples of the bandwidth, one per kernel (paper: powers of 2).
        bandwidth: ``median`` or ``mean`` squared distance over all pairs of the batch.
        estimator: ``unbiased``, over all pairs, or ``linear``, over disjoint pairs of neighbours (paper).
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight or an unknown choice.

    References:
        Long et al., Learning Transferable Features with Deep Adaptation Networks, ICML 2015, equations 2 to 5.
        Gretton et al., A Kernel Two-Sample Test, JMLR 13 (2012).
    """

    problems = ALL | SEVERAL
    couples_samples = True

    def __init__(
        self,
        weight: NonNegative = 1.0,
        align: Annotated[Sequence[str], Len(1)] = ("features",),
        factors: Annotated[Sequence[Positive], Len(1)] = (0.25, 0.5, 1.0, 2.0, 4.0),
        bandwidth: Literal["median", "mean"] = "median",
        estimator: Literal["unbiased", "linear"] = "unbiased",
        batch_norm: BatchNorm = "separate",
    ) -> None:
        super().__init__()
        check_kernels(factors, bandwidth)
        if estimator not in ("unbiased", "linear"):
            raise UserError(f"domain_adaptation.estimator must be 'unbiased' or 'linear', not {estimator!r}")
        if not align:
            raise UserError("domain_adaptation.align names nothing to align; the usual choice is [features]")
        self.weight, self.align, self.factors = check_weight("weight", weight), tuple(align), tuple(factors)
        self.bandwidth, self.estimator = bandwidth, estimator
        self.batch_norm = check_batch_norm(batch_norm)
        if "probabilities" in self.align:  # of a softmax
            self.problems = frozenset({"single_label"})
        self.layers = tuple(name for name in self.align if name not in OUTPUTS)
        self.needs_target_logits = not {"logits", "probabilities"}.isdisjoint(self.align)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute MMD^2 of every representation, and their weighted sum."""
        estimate = mmd_unbiased if self.estimator == "unbiased" else mmd_linear
        values = []
        for name in self.align:
            x, y = representation(source, name), representation(target, name)
            values.append(estimate(gaussian_kernel(cat([x, y]), self.factors, self.bandwidth), len(x)))
        return Adaptation({"mmd_loss": self.weight * sum(values[1:], start=values[0])})

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"MMD": f"{self.estimator} on {', '.join(self.align)}", "batch-norm statistics": self.batch_norm}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, align={list(self.align)}, factors={list(self.factors)}, {self.estimator}"
