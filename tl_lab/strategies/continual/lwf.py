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
    """Train on a task while distilling the outputs that the network had for the same samples when the task started.

    L(theta) = CE + lambda sum_{k<n} KD_k in the n-th task. KD_k is the cross-entropy from the softened outputs of a
    frozen copy of the network at the end of the previous task to those of the network (see
    :func:`~tl_lab.functional.distillation_loss`), both on the current batch: no sample of earlier tasks is stored. For
    a pair of domains, the source samples are used.

    - Task-incremental: a term for the head of each earlier task.
    - Class-incremental: one term over the classes of all earlier tasks.
    - Domain-incremental: the outputs are shared by all earlier tasks, so that their terms are equal.

    The warm-up of the paper, which trains the new head alone at first, is omitted: the paper found it not crucial.

    Args:
        temperature: T, > 0.
        weight: lambda, >= 0.
        weighting: ``sum`` as above; ``tasks``: 1/n CE + (1 - 1/n) lambda KD in the n-th task.
        over_tasks: ``sum`` or ``mean`` of the terms of the earlier tasks.
        scaled: multiply the terms by T^2.
        new_classes: in class-incremental streams, the network's probabilities in KD are over the old classes only
            (``apart``), or over all classes seen so far, with a target of ``zero`` for new ones.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.

    Raises:
        UserError: an option is out of its range.

    References:
        Li and Hoiem, Learning without Forgetting, TPAMI 40 (2018), section 3, equations 1 to 4.
        van de Ven and Tolias, Three scenarios for continual learning, 2019: ``weighting=tasks over_tasks=mean
        scaled=true new_classes=zero``.
        van de Ven, Tuytelaars and Tolias, Nature Machine Intelligence 2022: ``new_classes=zero``; there, outputs for
        all classes of the stream exist from the start.
    """

    problems = frozenset({"single_label"})
    shardable = False

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
            raise UserError(f"strategy.temperature must be above 0, not {temperature}")
        if not weight >= 0:
            raise UserError(f"strategy.weight must be at least 0, not {weight}")
        _check_choice("weighting", weighting, ("sum", "tasks"))
        _check_choice("over_tasks", over_tasks, ("sum", "mean"))
        _check_choice("new_classes", new_classes, ("apart", "zero"))
        self.temperature, self.weight, self.scaled = temperature, weight, scaled
        self.weighting, self.over_tasks, self.new_classes = weighting, over_tasks, new_classes
        # created at the start, so that every checkpoint has the same entries; never trained
        self.teacher = copy.deepcopy(self.network).requires_grad_(False)
        self.teacher.eval()

    def train(self, mode: bool = True) -> "LwF":
        """Set the mode of all modules except the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def end_task(self, task: int) -> None:
        """Copy the network as the teacher of the next task."""
        self.teacher.load_state_dict(self.network.state_dict())

    @property
    def current_share(self) -> float:
        """Return the factor of the cross-entropy: 1/n in the n-th task with ``weighting=tasks``, else 1."""
        return 1 / (self.task + 1) if self.weighting == "tasks" else 1.0

    def further_terms(self, batch: Labelled, features: Tensor, logits: Tensor) -> dict[str, Tensor]:
        """Return the distillation loss on the outputs of earlier tasks."""
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
        """Return pairs of old logits of network and teacher, ``(B, K)``: one per head, or one for shared outputs."""
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
        """Compute the teacher's logits on the inputs that the network received."""
        head = self.teacher.head
        assert isinstance(head, TaskHead)
        head.active = blocks
        self.teacher.use("source")
        x, _ = self._inputs(batch, None)  # an adaptation may change the inputs, identically at each call
        return self.teacher(x)

    def facts(self) -> dict[str, str]:
        """Report the choices that change the numbers."""
        text = f"T = {self.temperature:g}, weight {self.weight:g}" + (", times T²" if self.scaled else "")
        return {"distillation": f"{text}; weighting={self.weighting}, over_tasks={self.over_tasks}", **super().facts()}


def _check_choice(name: str, value: str, valid: tuple[str, str]) -> None:
    if value not in valid:
        raise UserError(f"strategy.{name} must be {valid[0]!r} or {valid[1]!r}, not {value!r}")
