"""Evaluation of several tasks on shared outputs: a meter for each task, and the mean of their scores."""

import math
from collections.abc import Callable, Mapping
from typing import cast

from torch import Tensor, nn

from tl_lab.evaluation.meter import Meter

__all__ = ["TASK_MEAN", "SeveralMeter"]

TASK_MEAN = "task_mean"
"""The mean over the tasks of their main metrics."""


class SeveralMeter(Meter):
    """Collects the tasks' outputs and their available labels.

    Args:
        meters: the meter of each task, by its name.
        parts: splits the outputs and labels of a batch into those of each task, for the samples that have its labels.
        monitors: the main metric of each task, over which the mean is taken.
    """

    def __init__(
        self,
        meters: Mapping[str, Meter],
        parts: Callable[[Tensor, Tensor], Mapping[str, tuple[Tensor, Tensor]]],
        monitors: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.names, self.parts, self.monitors = list(meters), parts, dict(monitors)
        self.meters = nn.ModuleList(meters.values())  # names of tasks may contain any character
        self._seen: set[str] = set()

    def of(self, name: str) -> Meter:
        """Return the meter of a task."""
        return cast(Meter, self.meters[self.names.index(name)])

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add a batch; without labels there is nothing to score."""
        if y is None:
            return
        for name, (of_task, labels) in self.parts(outputs, y).items():
            if len(labels):
                self.of(name).update(of_task, labels)
                self._seen.add(name)

    def compute(self) -> dict[str, float]:
        """Return each task's scores as ``<task>/<score>``, the mean of the main metrics and the sum of the losses.

        Tasks without labels in the set are left out.
        """
        if not self._seen:
            return {}
        found = {name: self.of(name).compute() for name in self.names if name in self._seen}
        self._seen = set()
        leading = [scores[self.monitors[name]] for name, scores in found.items()]
        defined = [value for value in leading if not math.isnan(value)]  # R² of constant targets is undefined
        broken = any(not math.isfinite(scores["loss"]) for scores in found.values())
        mean = math.nan if broken or not defined else sum(defined) / len(defined)
        each = {f"{name}/{score}": value for name, scores in found.items() for score, value in scores.items()}
        return {"loss": sum(scores["loss"] for scores in found.values()), TASK_MEAN: mean, **each}
