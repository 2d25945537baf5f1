"""Adaptive feature norm."""

from typing import Literal

from torch import Tensor

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.errors import UserError
from tl_lab.functional import mean_entropy
from tl_lab.functional.precision import in_full_precision
from tl_lab.options import BatchNorm, NonNegative, Positive

__all__ = ["AFN", "hard_norm", "stepwise_norm"]


@in_full_precision
def stepwise_norm(features: Tensor, step: float) -> Tensor:
    """Mean over samples of (|f| - (|f|_now + step))^2, where |f|_now gets no gradient: each norm grows by a step.

    Args:
        features: ``(B, D)``.
        step: Delta r, > 0.

    Returns:
        A scalar, always step^2; only its gradient matters.

    References:
        Xu et al., Larger Norm More Transferable: An Adaptive Feature Norm Approach for Unsupervised Domain
        Adaptation, ICCV 2019, equation 6.
    """
    norms = features.norm(dim=1)
    return (norms - (norms.detach() + step)).square().mean()


@in_full_precision
def hard_norm(features: Tensor, radius: float) -> Tensor:
    """Squared difference of the mean norm and a radius: (mean |f| - R)^2.

    Args:
        features: ``(B, D)``.
        radius: R, > 0.

    Returns:
        A scalar >= 0.

    References:
        Xu et al., ICCV 2019, equation 4.
    """
    return (features.norm(dim=1).mean() - radius).square()


class AFN(DomainAdaptation):
    """Enlarge the norms of both domains' features, step by step (SAFN) or towards a radius (HAFN).

    Args:
        weight: weight of the term for each domain, >= 0 (paper: 0.05).
        kind: ``stepwise`` or ``hard``.
        step: Delta r of the stepwise form, > 0 (paper: 1, or 0.3 for small sets).
        radius: R of the hard form, > 0 (paper: 25).
        entropy_weight: weight of the mean entropy of the target's predictions, >= 0 (paper: 0, or 0.1 if it is used).
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight or an unknown choice.

    References:
        Xu et al., ICCV 2019.
    """

    problems = frozenset({"single_label"})

    def __init__(
        self,
        weight: NonNegative = 0.05,
        kind: Literal["stepwise", "hard"] = "stepwise",
        step: Positive = 1.0,
        radius: Positive = 25.0,
        entropy_weight: NonNegative = 0.0,
        batch_norm: BatchNorm = "separate",
    ) -> None:
        super().__init__()
        if kind not in ("stepwise", "hard"):
            raise UserError(f"domain_adaptation.kind must be 'stepwise' or 'hard', not {kind!r}")
        if not step > 0 or not radius > 0:
            raise UserError(f"domain_adaptation.step and radius must be above 0, not {step} and {radius}")
        self.weight, self.entropy_weight = (
            check_weight("weight", weight),
            check_weight("entropy_weight", entropy_weight),
        )
        self.kind, self.step, self.radius = kind, step, radius
        self.needs_target_logits = entropy_weight > 0
        self.batch_norm = check_batch_norm(batch_norm)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the feature-norm losses of both domains."""
        norm, size = (stepwise_norm, self.step) if self.kind == "stepwise" else (hard_norm, self.radius)
        loss = norm(source.features, size) + norm(target.features, size)
        terms = {"norm_loss": self.weight * loss}
        if self.entropy_weight:
            assert target.logits is not None
            terms["entropy_loss"] = self.entropy_weight * mean_entropy(target.logits.softmax(1))
        norms = {
            "source_norm": source.features.detach().norm(dim=1).mean(),
            "target_norm": target.features.detach().norm(dim=1).mean(),
        }
        return Adaptation(terms, norms)

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"AFN": self.kind, "batch-norm statistics": self.batch_norm.replace("_", " ")}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, {self.kind}, step={self.step}, radius={self.radius}"
