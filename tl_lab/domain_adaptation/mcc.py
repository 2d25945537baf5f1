"""Minimum class confusion."""

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.errors import UserError
from tl_lab.functional import minimum_class_confusion
from tl_lab.options import BatchNorm, NonNegative, Positive

__all__ = ["MCC"]


class MCC(DomainAdaptation):
    """Reduce the confusion between classes in the target's predictions (:func:`minimum_class_confusion`).

    Args:
        weight: weight of the term, >= 0 (paper: 1).
        temperature: temperature of the predictions, > 0 (paper: 2.5).
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight, or a temperature that is not above 0.

    References:
        Jin et al., Minimum Class Confusion for Versatile Domain Adaptation, ECCV 2020.
    """

    problems = frozenset({"single_label"})
    couples_samples = True
    needs_target_logits = True

    def __init__(
        self, weight: NonNegative = 1.0, temperature: Positive = 2.5, batch_norm: BatchNorm = "separate"
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise UserError(f"domain_adaptation.temperature must be above 0, not {temperature}")
        self.weight, self.temperature = check_weight("weight", weight), temperature
        self.batch_norm = check_batch_norm(batch_norm)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the confusion of the target's predictions."""
        assert target.logits is not None
        return Adaptation({"mcc_loss": self.weight * minimum_class_confusion(target.logits, self.temperature)})

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"batch-norm statistics": self.batch_norm}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, temperature={self.temperature}"
