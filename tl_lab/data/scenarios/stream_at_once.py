"""The tasks of a stream as one multi-task set, each with separate outputs and a separate loss."""

from dataclasses import replace
from typing import Any

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.data.sets.tasks import TasksInBatches
from tl_lab.errors import UserError
from tl_lab.evaluation import TASK_MEAN
from tl_lab.problems import Problem, Several

__all__ = ["StreamAtOnce"]

_PARTS = ("train", "val", "test")


class StreamAtOnce(TasksInBatches):
    """The combined sets of a stream's tasks, for a strategy that learns several tasks at once.

    Training takes as many updates as all tasks of the stream. The mean over the tasks' scores has the same name as that
    of the stream, so that both appear in the same column of a table.

    Args:
        stream: task-incremental stream of labelled sets.

    Raises:
        UserError: the tasks share outputs, or transform their inputs differently.
    """

    keeps_best = False

    def __init__(self, stream: TaskStream) -> None:
        super().__init__(
            batch_size=stream.batch_size,
            eval_batch_size=stream.eval_batch_size,
            seed=stream.seed,
            evaluate="last",
            augmentation=stream.augmentation,
            workers=stream.workers,
            lazy=stream.lazy,
            batches_per_epoch=stream.batches_per_epoch,
            labels=stream.labels,
            near_duplicates=stream.near_duplicates,
        )
        if stream.scenario != "task":
            raise UserError(
                f"strategy=multi_task requires separate outputs for each task of a stream, which data.scenario="
                f"{stream.scenario} does not have: set data.scenario=task"
            )
        if type(stream).change is not TaskStream.change:
            raise UserError(
                "strategy=multi_task combines the samples of all tasks, but these tasks transform their inputs "
                "differently: use strategy=joint"
            )
        self.stream = stream

    def _made_of(self) -> DataModule:
        return self.stream

    def read(self) -> dict[str, Samples]:
        """Read the stream, and combine its tasks; a sample has a label for its own task only."""
        stream = self.stream
        sets = stream.read_for(self.request)
        self.notes += stream.notes
        names = [stream.task_name(k) for k in range(stream.num_tasks)]
        problems: list[Problem] = [stream.problem_kind(own) for own in stream.task_classes]
        self.several = Several(tasks=dict(zip(names, problems, strict=True)))
        self.class_names, self.mean_name = list(self.several.output_names), stream.problem_kind.monitor
        joined = {
            part: Samples.concatenate([self._of_task(k, sets[f"{name}/{part}"]) for k, name in enumerate(names)])
            for part in _PARTS
        }
        if self.batches_per_epoch is None:
            self.batches_per_epoch = max(1, len(joined["train"]) // (self.batch_size * stream.num_tasks))
        return joined

    def _of_task(self, task: int, samples: Samples) -> Samples:
        assert samples.y is not None
        assert self.stream.outputs is not None
        own = samples.y - self.stream.outputs.offset(task)
        return replace(samples, y=self.several.widened(self.stream.task_name(task), own))

    @property
    def monitor(self) -> str:
        """The validation score for comparing runs: the mean over tasks."""
        return f"{self.monitored}/{self.mean_name}"

    @property
    def labelled_scores(self) -> tuple[str, ...]:
        """Names of the scores that require a validation set with labels."""
        return tuple(self.mean_name if name == TASK_MEAN else name for name in super().labelled_scores)

    def total_epochs_for(self, epochs: int) -> int:
        """Return the total number of epochs of all tasks."""
        return self.stream.total_epochs_for(epochs)

    @property
    def reading(self) -> dict[str, Any]:
        """Return the options with which files were read."""
        return self.stream.reading

    def facts(self) -> dict[str, str]:
        """Report the scenario in addition to the facts of all data."""
        return {**super().facts(), "scenario": f"task-incremental, {self.stream.num_tasks} tasks, learned at once"}
