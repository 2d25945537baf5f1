"""Maximum classifier discrepancy."""

from torch import Tensor
from torch.nn import functional as F

from tl_lab.domain_adaptation.base import (
    Adaptation,
    DomainAdaptation,
    DomainOutput,
    Phase,
    Update,
    check_batch_norm,
    check_weight,
)
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.options import BatchNorm, Count, NonNegative

__all__ = ["MCD", "discrepancy"]


def discrepancy(p: Tensor, q: Tensor) -> Tensor:
    """Mean absolute difference of two classifiers' probabilities, over samples and classes.

    Args:
        p: ``(B, C)``.
        q: ``(B, C)``.

    Returns:
        A scalar in [0, 2 / C].

    References:
        Saito et al., Maximum Classifier Discrepancy for Unsupervised Domain Adaptation, CVPR 2018, equation 2.
    """
    return (p - q).abs().mean()


class MCD(DomainAdaptation):
    """Train two classifiers to maximise their discrepancy on the target, and the encoder to minimise it.

    Each batch is used for three kinds of update: (A) all parts are trained on the source, with both classifiers; (B)
    the classifiers are trained on the source and increase their discrepancy on the target; (C) the encoder alone
    decreases it, ``generator_steps`` times. The network's own head is the first classifier and makes the predictions.

    Args:
        weight: weight of the discrepancy, >= 0 (paper: 1).
        generator_steps: updates of kind C for each batch, >= 1 (paper: 2 to 4).
        batch_norm: see :class:`~tl_lab.domain_adaptation.base.DomainAdaptation`.

    Raises:
        UserError: for a negative weight or fewer than one step.

    References:
        Saito et al., CVPR 2018, section 3.3, steps A to C.
    """

    problems = frozenset({"single_label"})

    needs_target_logits = True

    def __init__(
        self, weight: NonNegative = 1.0, generator_steps: Count = 4, batch_norm: BatchNorm = "separate"
    ) -> None:
        super().__init__()
        if generator_steps < 1:
            raise UserError(f"domain_adaptation.generator_steps must be at least 1, not {generator_steps}")
        self.weight, self.generator_steps = check_weight("weight", weight), generator_steps
        self.batch_norm = check_batch_norm(batch_norm)

    def build(self, network: Network) -> None:
        """Build the second classifier: the same architecture as the first, with other random weights."""
        self.second_head = network.make_head()

    def phases(self, progress: float) -> tuple[Phase, ...]:
        """Return steps A, B and C."""
        all_parts = frozenset({"backbone", "bottleneck", "head", "adaptation"})
        classify = Phase("classify", all_parts, needs=frozenset({"source"}))
        part = Phase("part", frozenset({"head", "adaptation"}))
        gather = Phase("gather", frozenset({"backbone", "bottleneck"}), task=False, needs=frozenset({"target"}))
        return classify, part, *([gather] * self.generator_steps)

    def adapt(self, source: DomainOutput, target: DomainOutput, update: Update) -> Adaptation:
        """Compute the second classifier's loss and the discrepancy, whose sign depends on the phase."""
        terms: dict[str, Tensor] = {}
        if update.phase != "gather":
            assert source.y is not None
            terms["second_task_loss"] = F.cross_entropy(self.second_head(source.features), source.y)
        if update.phase == "classify":
            return Adaptation(terms)
        assert target.logits is not None
        value = discrepancy(target.logits.softmax(1), self.second_head(target.features).softmax(1))
        if update.phase == "part":
            terms["parting_loss"] = -self.weight * value
        else:
            terms["gathering_loss"] = self.weight * value
        return Adaptation(terms, {"discrepancy": value.detach()})

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        steps = f"{self.generator_steps} encoder steps per batch, predictions of the first classifier"
        return {"MCD": steps, "batch-norm statistics": self.batch_norm.replace("_", " ")}

    def extra_repr(self) -> str:
        """Show the method's options."""
        return f"weight={self.weight}, generator_steps={self.generator_steps}"
