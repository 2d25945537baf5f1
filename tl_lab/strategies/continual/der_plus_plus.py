"""DER++: replay of earlier samples with their labels and with the logits they had when they were stored."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.batches import Labelled
from tl_lab.errors import UserError
from tl_lab.options import NonNegative
from tl_lab.problems import ALL
from tl_lab.strategies.continual.memory import MemoryStrategy

__all__ = ["DerPlusPlus"]


class DerPlusPlus(MemoryStrategy):
    """Dark experience replay++: distil from the network's own past logits, and replay labels.

    L = CE(batch) + alpha MSE(h(x'), z') + beta CE(h(x''), y'')

    with (x', z') and (x'', y'') two independent draws from a reservoir, h the logits, and z' the logits of x' before
    the update on the batch that contained it. The mean of the squared differences is over samples and outputs. Samples
    of the current task may be drawn, too.

    In a task-incremental stream, the outputs are those of the sample's task; in a class-incremental one they are those
    of all classes. Outputs of future classes exist from the start but enter the cross-entropy only once their task is
    trained; keeping their low values on old samples is a large part of the distillation's effect.

    Args:
        alpha: factor of the distillation, >= 0.
        beta: factor of the replayed labels, >= 0; 0 is DER.
        options: see :class:`~tl_lab.strategies.continual.memory.MemoryStrategy`; ``memory.policy`` is reservoir.

    Raises:
        UserError: alpha or beta is negative.

    References:
        Buzzega, Boschini, Porrello, Abati and Calderara, Dark Experience for General Continual Learning: a Strong,
        Simple Baseline, NeurIPS 2020, equation 6 and algorithm 2.
    """

    problems = ALL
    policies = ("reservoir",)
    keeps_logits = True

    def __init__(self, *, alpha: NonNegative = 1.0, beta: NonNegative = 0.5, **options: Any) -> None:
        super().__init__(**options)
        for name, value in {"alpha": alpha, "beta": beta}.items():
            if not value >= 0:
                raise UserError(f"strategy.{name} must be at least 0, not {value}")
        self.alpha, self.beta = float(alpha), float(beta)

    def further_terms(self, batch: Labelled, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Add the distance to the stored logits, and the loss on labels."""
        terms = super().further_terms(batch, features, logits)
        if self._logits is None:  # before the first update on this batch
            self._logits = self._outputs_of(features.detach(), batch, logits).detach()
        if self.alpha and len(slots := self.recall("distilled")):
            now, kept = self._outputs_of(*self.revisit(slots, "distilled")), self.memory.logits[slots]
            there = ~kept.isnan()
            terms["distillation_loss"] = self.alpha * F.mse_loss(now.to(kept)[there], kept[there])
        if self.beta and len(slots := self.recall("replay")):
            terms["replay_loss"] = self.beta * self.recalled_loss(slots, "replay")
        return terms

    def _outputs_of(self, features: Tensor, batch: Labelled, logits: Tensor | None = None) -> Tensor:
        """Compute the logits that are stored and compared; those of the outputs in use may be known already."""
        if self.outputs.scenario != "class":
            return self.classify(features, batch)[0] if logits is None else logits
        self.head.active = tuple(range(self.outputs.num_tasks))
        every = self.head(features)
        self.view(self.task)
        return every
