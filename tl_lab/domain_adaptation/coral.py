"""Deep correlation alignment."""

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.domain_adaptation.mmd import OUTPUTS, representation
from tl_lab.functional import coral
from tl_lab.options import BatchNorm, NonNegative
from tl_lab.problems import ALL, SEVERAL

__all__ = ["CORAL"]


class CORAL(DomainAdaptation):
    """Align the covariances of the domains: weight * ||C_s - C_t||_F^2 / (4 D^2).

    Args:
        weight: weight of the term, >= 0 (paper: chosen so that the term ends about as large as the task loss).
        align: the aligned quantity: ``logits`` (the paper's fc8), ``features``, ``probabilities``, or a module's name.
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight or an unknown choice.

    References:
        Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV Workshops 2016.
    """

    problems = ALL | SEVERAL
    couples_samples = True

    def __init__(self, weight: NonNegative = 1.0, align: str = "logits", batch_norm: BatchNorm = "separate") -> None:
        super().__init__()
        self.weight, self.align = check_weight("weight", weight), align
        self.batch_norm = check_batch_norm(batch_norm)
        if align == "probabilities":  # of a softmax
            self.problems = frozenset({"single_label"})
        self.layers = () if align in OUTPUTS else (align,)
        self.needs_target_logits = align in ("logits", "probabilities")

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the distance between the covariances."""
        value = coral(representation(source, self.align), representation(target, self.align))
        return Adaptation({"coral_loss": self.weight * value})

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        return {"CORAL": f"on {self.align}", "batch-norm statistics": self.batch_norm}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, align={self.align!r}"
