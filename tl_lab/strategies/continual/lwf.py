"""Learning without forgetting."""

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from tl_lab.data.batches import Labelled
from tl_lab.errors import UserError
from tl_lab.functional import distillation_loss
from tl_lab.model.heads import TaskHead
from tl_lab.options import NonNegative, Positive
from tl_lab.strategies.continual.base import ContinualStrategy

__all__ = ["LwF"]


class LwF(ContinualStrategy):
    """Learn a task while the old outputs stay near to what the network gave for the same samples when it began.

    L(theta) = CE + lambda sum_{k<n} KD_k in the n-th task. KD_k is the cross-entropy from the softened outputs of a
    frozen copy of the network, as the last task left it, to those of the network (see
    :func:`~tl_lab.functional.distillation_loss`), both on the current batch: nothing of earlier tasks is kept. Of a
    pair of domains these are the source's samples.

    - Task-incremental: a term for the head of each earlier task.
    - Class-incremental: one term over the classes of all earlier tasks.
    - Domain-incremental: the shared outputs stand for each earlier task, so that their terms are equal.

    The paper's warm-up, in which the new head learns alone at first, is left out: it found it not crucial.

    Args:
        temperature: T, > 0.
        weight: lambda, >= 0.
        weighting: ``sum`` as above; ``tasks``: 1/n CE + (1 - 1/n) lambda KD in the n-th task.
        over_tasks: ``sum`` or ``mean`` of the terms of the earlier tasks.
        scaled: multiply the terms by T^2.
        new_classes: of class-incremental streams, the network's probabilities of KD are over the old classes alone
            (``apart``), or over all seen so far, the new ones with a target of ``zero``.
        options: those of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.

    Raises:
        UserError: an option is out of its range.

    References:
        Li and Hoiem, Learning without Forgetting, TPAMI 40 (2018), section 3, equations 1 to 4.
        van de Ven and Tolias, Three scenarios for continual learning, 2019: ``weighting=tasks over_tasks=mean
        scaled=true new_classes=zero``.
        van de Ven, Tuytelaars and Tolias, Nature Machine Intelligence 2022: ``new_classes=zero``, all classes of the
        stream having outputs from the start there.
    """

    problems = frozenset({"single_label"})

    def __init__(
        self,
        *,
        temperature: Positive = 2.0,
        weight: NonNegative = 1.0,
        weighting: Literal["sum", "tasks"] = "sum",
        over_tasks: Literal["sum", "mean"] = "sum",
        scaled: bool = False,
        new_classes: Literal["apart", "zero"] = "apart",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not temperature > 0:
            raise UserError(f"strategy.temperature is above 0, not {temperature}")
        if not weight >= 0:
            raise UserError(f"strategy.weight is at least 0, not {weight}")
        _check_choice("weighting", weighting, ("sum", "tasks"))
        _check_choice("over_tasks", over_tasks, ("sum", "mean"))
        _check_choice("new_classes", new_classes, ("apart", "zero"))
        self.temperature, self.weight, self.scaled = temperature, weight, scaled
        self.weighting, self.over_tasks, self.new_classes = weighting, over_tasks, new_classes
        # there from the start, so that every checkpoint has the same entries; no part that learns
        self.teacher = copy.deepcopy(self.network).requires_grad_(False)
        self.teacher.eval()

    def train(self, mode: bool = True) -> "LwF":
        """Set the mode of all but the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def end_task(self, task: int) -> None:
        """Keep the network as it is for the next task."""
        self.teacher.load_state_dict(self.network.state_dict())

    @property
    def current_share(self) -> float:
        """Factor of the cross-entropy: 1/n in the n-th task where the objective is shared out, else 1."""
        return 1 / (self.task + 1) if self.weighting == "tasks" else 1.0

    def further_terms(self, batch: Labelled, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Give the distillation of the earlier tasks' outputs."""
        if self.task == 0:
            return {}
        shared_out, by_task = self.weighting == "tasks", self.outputs.scenario != "class"
        factor = self.weight * (1 - self.current_share if shared_out else 1.0)
        if self.over_tasks == "sum" and by_task:
            factor *= self.task
        terms = [
            distillation_loss(own, kept, self.temperature, self.scaled)
            for own, kept in self._old_outputs(batch, features, logits)
        ]
        return {"distillation_loss": factor * torch.stack(terms).mean()}

    def _old_outputs(self, batch: Labelled, features: Tensor, logits: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Give old outputs of network and teacher, ``(B, K)`` each: a pair a head, or one where tasks share outputs."""
        old = (0,) if self.outputs.scenario == "domain" else tuple(range(self.task))
        kept = self._teach(batch, old)
        if self.outputs.scenario != "task":
            return [(logits if self.new_classes == "zero" else logits[:, : kept.shape[1]], kept)]
        self.head.active = old
        own = self.head(features)
        self.view(self.task)
        sizes = list(self.outputs.sizes[: self.task])
        return list(zip(own.split(sizes, 1), kept.split(sizes, 1), strict=True))

    @torch.no_grad()
    def _teach(self, batch: Labelled, blocks: tuple[int, ...]) -> Tensor:
        """Compute the teacher's logits on what the network has seen of a batch."""
        head = self.teacher.head
        assert isinstance(head, TaskHead)
        head.active = blocks
        self.teacher.use("source")
        x, _ = self._inputs(batch, None)  # the adaptation may change the inputs, the same way whenever it is asked
        return self.teacher(x)

    def facts(self) -> dict[str, str]:
        """State the choices that change the numbers."""
        told = f"T = {self.temperature:g}, weight {self.weight:g}" + (", times T²" if self.scaled else "")
        return {"distillation": f"{told}; weighting={self.weighting}, over_tasks={self.over_tasks}", **super().facts()}


def _check_choice(name: str, value: str, valid: tuple[str, str]) -> None:
    if value not in valid:
        raise UserError(f"strategy.{name} is {valid[0]!r} or {valid[1]!r}, not {value!r}")
