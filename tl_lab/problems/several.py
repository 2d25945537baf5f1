"""Several tasks on one backbone: a head, a problem and scores for each, and labels that may be missing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.several import TASK_MEAN, SeveralMeter
from tl_lab.problems.base import Criterion, Groups, Prediction, Problem

__all__ = ["Several", "SeveralCriterion", "Task"]


class Task(NamedTuple):
    """One of the tasks.

    Attributes:
        problem: what it predicts.
        outputs: its own among all outputs.
        labels: its columns among those of all labels.

    Example:
        >>> from tl_lab.problems import SingleLabel
        >>> Task(SingleLabel(["no", "yes"]), slice(0, 2), slice(0, 1)).own_labels(torch.tensor([[1.0]])).tolist()
        [1]
    """

    problem: Problem
    outputs: slice
    labels: slice

    def own_labels(self, y: Tensor) -> Tensor:
        """Bring a task's columns ``(N, W)``, all of them known, to the form that its problem takes."""
        return y[:, 0].long() if self.problem.numbers_outputs else y


class SeveralCriterion(Criterion):
    """The loss of each task on the samples that have its labels; :meth:`forward` adds them up.

    Args:
        tasks: by name.
        criteria: of the tasks, in the same order.

    Example:
        >>> from tl_lab.problems import Regression, SingleLabel
        >>> problem = Several(tasks={"rain": SingleLabel(["no", "yes"]), "heat": Regression(["degrees"])})
        >>> y = torch.tensor([[0.0, 2.0], [1.0, torch.nan]])
        >>> means, counts = problem.criterion(None).by_task(torch.zeros(2, 3), y)
        >>> [round(mean, 3) for mean in means.tolist()], counts.tolist()
        ([0.693, 4.0], [2, 1])
    """

    def __init__(self, tasks: Mapping[str, Task], criteria: Sequence[Criterion]) -> None:
        super().__init__()
        self.tasks, self.criteria = dict(tasks), nn.ModuleList(criteria)
        self.balanced = any(one.balanced for one in criteria)

    def each(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss of every sample in every task.

        Args:
            outputs: of the head, ``(B, C)``.
            y: labels of all tasks, ``(B, W)``, NaN where one is missing.

        Returns:
            Losses ``(B, T)``, 0 where a task's labels are missing, whose gradient is exactly 0; and whether they are
            there, ``(B, T)``.
        """
        losses, known = [], []
        for task, criterion in zip(self.tasks.values(), self.criteria, strict=True):
            columns = y[:, task.labels]
            here = ~columns.isnan().any(1)
            filled = task.own_labels(torch.where(here[:, None], columns, 0))
            loss = criterion(outputs[:, task.outputs], filled, reduction="none")
            losses.append(torch.where(here, loss, 0))
            known.append(here)
        return torch.stack(losses, 1), torch.stack(known, 1)

    def by_task(self, outputs: Tensor, y: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute each task's mean loss over the samples that have its labels.

        Args:
            outputs, y: as for :meth:`each`.
            weights: of the samples, ``(B,)``; None for 1.

        Returns:
            Means ``(T,)``, 0 for a task without labels in the batch; and how many samples have its labels, ``(T,)``.
        """
        losses, known = self.each(outputs, y)
        count = known.sum(0)
        if weights is not None:
            losses = weights[:, None] * losses
        return losses.sum(0) / count.clamp(min=1), count

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Add up the tasks' mean losses, or each sample's losses in the tasks whose labels it has."""
        return self.each(outputs, y)[0].sum(1) if reduction == "none" else self.by_task(outputs, y)[0].sum()


class Several(Problem):
    """Tasks with problems of their own: labels are ``(N, W)`` float, side by side in the order of the tasks.

    A class takes one column, which holds its number; labels and quantities take a column each. NaN is a label that is
    missing: a sample counts in those tasks whose columns it has all of. Outputs stand side by side likewise.

    Args:
        output_names: of all outputs, ``<task>: <name>``.
        tasks: the problem of each task by its name, whose names may hold no '/' and no '.'.

    Raises:
        UserError: a name that could not be told from others in names of metrics.

    Example:
        >>> from tl_lab.problems import Regression, SingleLabel
        >>> problem = Several(tasks={"rain": SingleLabel(["no", "yes"]), "heat": Regression(["degrees"])})
        >>> problem.output_names
        ['rain: no', 'rain: yes', 'heat: degrees']
        >>> problem.known(torch.tensor([[0.0, 2.0], [1.0, torch.nan]])).tolist()
        [[True, True], [True, False]]
    """

    name = "several"
    monitor = TASK_MEAN

    def __init__(self, output_names: Sequence[str] = (), tasks: Mapping[str, Problem] | None = None) -> None:
        problems = dict(tasks or {})
        super().__init__(self.named(problems) if problems else output_names)
        for name in problems:
            if "/" in name or "." in name or not name.strip():
                raise UserError(f"a task cannot be named {name!r}: names hold no '/' and no '.', and are not empty")
        self.tasks: dict[str, Task] = {}
        first = column = 0
        for name, problem in problems.items():
            last, end = first + problem.num_outputs, column + (1 if problem.numbers_outputs else problem.num_outputs)
            self.tasks[name] = Task(problem, slice(first, last), slice(column, end))
            first, column = last, end
        self.num_columns = column
        scores = [f"{name}/{score}" for name, task in self.tasks.items() for score in task.problem.labelled]
        self.labelled = ("loss", TASK_MEAN, *scores)  # type: ignore[misc]  # those of its tasks

    @staticmethod
    def named(tasks: Mapping[str, Problem]) -> list[str]:
        """Name all outputs: ``rte: entailment``."""
        return [f"{task}: {name}" for task, problem in tasks.items() for name in problem.output_names]

    @property
    def numbers(self) -> Tensor:
        """Whether each task predicts numbers, ``(T,)``."""
        return torch.tensor([_is_regression(task) for task in self.tasks.values()])

    @property
    def owners(self) -> list[int]:
        """Number of the task of each output, ``(C,)``."""
        return [k for k, task in enumerate(self.tasks.values()) for _ in range(task.problem.num_outputs)]

    def widened(self, name: str, y: Tensor) -> Tensor:
        """Put one task's labels among those of all: ``(N, W)``, NaN in the columns of the others."""
        wide = torch.full((len(y), self.num_columns), torch.nan)
        wide[:, self.tasks[name].labels] = (y[:, None] if y.dim() == 1 else y).float()
        return wide

    def known(self, y: Tensor) -> Tensor:
        """Tell which samples have each task's labels, ``(N, T)``."""
        return torch.stack([~y[:, task.labels].isnan().any(1) for task in self.tasks.values()], 1)

    def of_each(self, y: Tensor) -> dict[str, Tensor]:
        """Give each task's labels, of the samples that have them, in its problem's own form."""
        known = self.known(y)
        return {
            name: task.own_labels(y[known[:, k]][:, task.labels]) for k, (name, task) in enumerate(self.tasks.items())
        }

    def parts(self, outputs: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Take a batch apart: each task's outputs and labels, of the samples that have its labels."""
        known = self.known(y)
        return {
            name: (outputs[known[:, k]][:, task.outputs], task.own_labels(y[known[:, k]][:, task.labels]))
            for k, (name, task) in enumerate(self.tasks.items())
        }

    # ------------------------------------------------------------------ labels

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Let each task check the labels that are there, of which training needs some in every task."""
        if y.dim() != 2 or y.shape[1] != self.num_columns or not y.is_floating_point():
            raise UserError(
                f"the set {name!r} has labels of {y.dtype}, {tuple(y.shape)}: give {self.num_columns} numbers a sample"
            )
        for task, labels in self.of_each(y).items():
            if len(labels):
                self.tasks[task].problem.check(f"{name} of {task}", labels)
            elif name.endswith("train"):
                raise UserError(f"no sample of the set {name!r} has a label of the task {task}")

    def alike(self, y: Tensor) -> str | None:
        """Name a task whose labels are all the same, where there is one."""
        for name, labels in self.of_each(y).items():
            if len(labels) and (said := self.tasks[name].problem.alike(labels)) is not None:
                return f"{said} of the task {name}"
        return None

    def learn(self, y: Tensor) -> None:
        """Let each task take the scale of its own labels."""
        for name, labels in self.of_each(y).items():
            self.tasks[name].problem.learn(labels)

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the tasks' losses; weights and smoothing act on those tasks that predict classes or labels.

        Raises:
            UserError: an option that suits none of the tasks.
        """
        labels = {} if y is None else self.of_each(y)
        criteria, takers = [], 0
        for name, task in self.tasks.items():
            chosen = (
                {} if _is_regression(task) else {"class_weights": class_weights, "label_smoothing": label_smoothing}
            )
            takers += not _is_regression(task)
            criteria.append(task.problem.criterion(labels.get(name), **cast(dict[str, Any], chosen)))
        if not takers and (class_weights is not None or label_smoothing):
            raise UserError(
                "strategy.class_weights and label_smoothing suit no task that predicts numbers: leave them out"
            )
        return SeveralCriterion(self.tasks, criteria)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Add up each sample's losses in the tasks whose labels it has, ``(B,)``."""
        return self.criterion(None)(outputs, y, reduction="none")

    def strata(self, y: Tensor) -> Tensor:
        """Group by which tasks' labels a sample has."""
        return self.known(y).unique(dim=0, return_inverse=True)[1]

    def groups(self, y: Tensor) -> Groups:
        """Group by which tasks' labels a sample has."""
        patterns, number = self.known(y).unique(dim=0, return_inverse=True)
        names = [
            " and ".join(name for name, has in zip(self.tasks, row, strict=True) if has) or "none"
            for row in patterns.tolist()
        ]
        return Groups(number, names, "task")

    def facts(self, y: Tensor) -> dict[str, str]:
        """State each task's kind and how many training labels it has."""
        said = [
            f"{name} ({task.problem.name.replace('_', '-')}, {len(labels):,} labels)"
            for (name, task), labels in zip(self.tasks.items(), self.of_each(y).values(), strict=True)
        ]
        return {"tasks": ", ".join(said)}

    # ------------------------------------------------------------------ answers

    def predict(self, outputs: Tensor) -> Prediction:
        """Let each task answer: values ``(N, W)`` and probabilities ``(N, C)`` side by side, NaN for numbers."""
        answers = [(task, task.problem.predict(outputs[:, task.outputs])) for task in self.tasks.values()]
        values = [(one.values[:, None] if one.values.dim() == 1 else one.values).double() for _, one in answers]
        shares = [
            torch.full((len(outputs), task.problem.num_outputs), torch.nan, device=outputs.device)
            if one.probabilities is None
            else one.probabilities
            for task, one in answers
        ]
        return Prediction(torch.cat(values, 1), None, torch.cat(shares, 1))

    def words(self, values: Tensor) -> list[str]:
        """Write every task's answer behind its name.

        Example:
            >>> from tl_lab.problems import Regression, SingleLabel
            >>> problem = Several(tasks={"rain": SingleLabel(["no", "yes"]), "heat": Regression(["degrees"])})
            >>> problem.words(problem.predict(torch.tensor([[0.0, 1.0, 21.5]])).values)
            ['rain: yes; heat: 21.5']
        """
        each = [
            [f"{name}: {word}" for word in task.problem.words(task.own_labels(values[:, task.labels]))]
            for name, task in self.tasks.items()
        ]
        return ["; ".join(row) for row in zip(*each, strict=True)]

    def columns(self, prediction: Prediction) -> dict[str, list[str]]:
        """Give each task's columns, under its name."""
        found: dict[str, list[str]] = {}
        assert prediction.probabilities is not None
        for name, task in self.tasks.items():
            shares = None if _is_regression(task) else prediction.probabilities[:, task.outputs]
            values, sure = task.own_labels(prediction.values[:, task.labels]), None
            if shares is not None:
                decided = shares if task.problem.numbers_outputs else torch.maximum(shares, 1 - shares)
                sure = decided.max(1).values if task.problem.numbers_outputs else decided.min(1).values
            of_task = task.problem.columns(Prediction(values, sure, shares))
            found |= {f"{name}: {column}": cells for column, cells in of_task.items()}
        return found

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build a meter for each task."""
        meters = {name: task.problem.meter() for name, task in self.tasks.items()}
        return SeveralMeter(meters, self.parts, {name: task.problem.monitor for name, task in self.tasks.items()})

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Give each task's scores of a batch that has labels of it."""
        return {
            f"{name}_{score}": value
            for name, (of_task, labels) in self.parts(outputs, y).items()
            if len(labels)
            for score, value in self.tasks[name].problem.batch_scores(of_task, labels).items()
        }

    def calibrate(self, meter: Meter) -> None:
        """Let each task choose what its decisions depend on."""
        if isinstance(meter, SeveralMeter):
            for name, task in self.tasks.items():
                task.problem.calibrate(meter.of(name))

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Any]:
        """Keep the tasks' states, in their order."""
        return {**super().state(), "tasks": [[name, task.problem.state()] for name, task in self.tasks.items()]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the tasks' states up."""
        for name, of_task in state["tasks"]:
            self.tasks[name].problem.load_state(of_task)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Several":
        """Build the tasks again."""
        from tl_lab.problems import restore

        return cls(tasks={str(name): restore(of_task) for name, of_task in state["tasks"]})


def _is_regression(task: Task) -> bool:
    return task.problem.name == "regression"
