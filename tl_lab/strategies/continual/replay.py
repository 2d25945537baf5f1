"""Experience replay: training on samples of earlier tasks in addition to those of the current one."""

from typing import Any, Literal

from torch import Tensor

from tl_lab.data.batches import Labelled
from tl_lab.errors import UserError, nearest
from tl_lab.problems import ALL
from tl_lab.strategies.continual.memory import MemoryStrategy

__all__ = ["Replay"]

_WEIGHTINGS = ("tasks", "equal")


class Replay(MemoryStrategy):
    """Train on each batch together with samples drawn from the memory.

    ``weighting=tasks``: in the n-th task,

    L = 1/n CE(batch) + (1 - 1/n) CE(replayed),

    which gives every task the same weight; only samples of earlier tasks are replayed. ``weighting=equal`` gives every
    sample of the batch and of the replayed ones the same weight; with a reservoir, samples of the current task may be
    replayed, too. Both terms are logged with their factors.

    Args:
        weighting: ``tasks`` or ``equal``.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.memory.MemoryStrategy`.

    Raises:
        UserError: an unknown weighting.

    References:
        ``equal`` with ``memory.policy=reservoir``: Chaudhry et al., On Tiny Episodic Memories in Continual Learning,
        2019, algorithm 1. ``tasks`` with ``class_balanced``: van de Ven, Tuytelaars and Tolias, Three Types of
        Incremental Learning, Nature Machine Intelligence 2022.
    """

    problems = ALL

    def __init__(self, *, weighting: Literal["tasks", "equal"] = "tasks", **options: Any) -> None:
        super().__init__(**options)
        if weighting not in _WEIGHTINGS:
            raise UserError(f"strategy.weighting={weighting} does not exist; {nearest(weighting, _WEIGHTINGS)}")
        self.weighting = weighting

    @property
    def _before(self) -> int | None:
        return self.task if self.weighting == "tasks" else None

    @property
    def current_share(self) -> float:
        """Return the factor of the current batch's loss, in (0, 1]; 1 if there is nothing to replay."""
        replayed = self.number_recalled(self._before)
        if not replayed:
            return 1.0
        if self.weighting == "tasks":
            return 1 / (self.task + 1)
        assert self._batch is not None
        current = len(self._batch.y) * self.trainer.world_size
        return current / (current + replayed)

    def further_terms(self, batch: Labelled, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Add the loss on replayed samples."""
        terms = super().further_terms(batch, features, logits)
        slots = self.recall("replay", self._before)
        if len(slots):
            terms["replay_loss"] = (1 - self.current_share) * self.recalled_loss(slots, "replay")
        return terms
