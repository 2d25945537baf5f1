"""Several tasks with one backbone: each has a head, a problem and scores, and labels may be missing."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.several import TASK_MEAN, SeveralMeter
from tl_lab.problems.base import Criterion, Groups, Prediction, Problem
from tl_lab.problems.metrics import SEVERAL as STATED
from tl_lab.texts import counted

__all__ = ["Several", "SeveralCriterion", "Task"]


class Task(NamedTuple):
    """One of several tasks.

    Attributes:
        problem: the task's prediction problem.
        outputs: slice of the task in all outputs.
        labels: slice of the task in the columns of all labels.

    Examples:
        >>> from tl_lab.problems import SingleLabel
        >>> Task(SingleLabel(["no", "yes"]), slice(0, 2), slice(0, 1)).own_labels(torch.tensor([[1.0]])).tolist()
        [1]
    """

    problem: Problem
    outputs: slice
    labels: slice

    def own_labels(self, y: Tensor) -> Tensor:
        """Convert a task's columns ``(N, W)`` without missing values to the label format of its problem."""
        return y[:, 0].long() if self.problem.numbers_outputs else y


class SeveralCriterion(Criterion):
    """The losses of all tasks, each on the samples that have its labels; :meth:`forward` returns their sum.

    Args:
        tasks: the tasks by name.
        criteria: losses of the tasks, in the same order.

    Examples:
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
            outputs: outputs of the head, ``(B, C)``.
            y: labels of all tasks, ``(B, W)``, NaN where one is missing.

        Returns:
            Losses ``(B, T)``, which are 0 with a gradient of exactly 0 if a task's labels are missing; and whether the
            labels are known, ``(B, T)``.
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
        """Compute each task's mean loss over the samples with its labels.

        Args:
            outputs, y: as for :meth:`each`.
            weights: weights of the samples, ``(B,)``; None for 1.

        Returns:
            Means ``(T,)``, 0 for a task without labels in the batch; and numbers of samples with its labels, ``(T,)``.
        """
        losses, known = self.each(outputs, y)
        count = known.sum(0)
        if weights is not None:
            losses = weights[:, None] * losses
        return losses.sum(0) / count.clamp(min=1), count

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Sum the tasks' mean losses, or for each sample the losses of the tasks with known labels."""
        return self.each(outputs, y)[0].sum(1) if reduction == "none" else self.by_task(outputs, y)[0].sum()


class Several(Problem):
    """Several tasks, each with its problem: labels are ``(N, W)`` float, concatenated in the order of the tasks.

    A task with classes has one column, the class index; other tasks have a column for each label or quantity. NaN marks
    a missing label, and a sample is used in the tasks whose columns are all known. Outputs are concatenated in the same
    way.

    Args:
        output_names: names of all outputs, ``<task>: <name>``.
        tasks: the problem of each task by name; names must not contain '/' or '.'.

    Raises:
        UserError: a name would be ambiguous in the names of metrics.

    Examples:
        >>> from tl_lab.problems import Regression, SingleLabel
        >>> problem = Several(tasks={"rain": SingleLabel(["no", "yes"]), "heat": Regression(["degrees"])})
        >>> problem.output_names
        ['rain: no', 'rain: yes', 'heat: degrees']
        >>> problem.known(torch.tensor([[0.0, 2.0], [1.0, torch.nan]])).tolist()
        [[True, True], [True, False]]
    """

    name = "several"
    monitor = TASK_MEAN
    metrics = STATED.metrics
    units = STATED.units
    general = False

    def __init__(self, output_names: Sequence[str] = (), tasks: Mapping[str, Problem] | None = None) -> None:
        problems = dict(tasks or {})
        super().__init__(self.named(problems) if problems else output_names)
        for name in problems:
            if "/" in name or "." in name or not name.strip():
                raise UserError(f"a task cannot be named {name!r}: names must not be empty or contain '/' or '.'")
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
        """Return the names of all outputs, such as ``rte: entailment``."""
        return [f"{task}: {name}" for task, problem in tasks.items() for name in problem.output_names]

    @property
    def numbers(self) -> Tensor:
        """Whether each task predicts numbers, ``(T,)``."""
        return torch.tensor([task.problem.predicts_numbers for task in self.tasks.values()])

    @property
    def owners(self) -> list[int]:
        """Index of the task of each output, ``(C,)``."""
        return [k for k, task in enumerate(self.tasks.values()) for _ in range(task.problem.num_outputs)]

    def widened(self, name: str, y: Tensor) -> Tensor:
        """Place one task's labels in the columns of all tasks, ``(N, W)``, with NaN in the other columns."""
        wide = torch.full((len(y), self.num_columns), torch.nan)
        wide[:, self.tasks[name].labels] = (y[:, None] if y.dim() == 1 else y).float()
        return wide

    def known(self, y: Tensor) -> Tensor:
        """Mark the samples with known labels for each task, ``(N, T)``."""
        return torch.stack([~y[:, task.labels].isnan().any(1) for task in self.tasks.values()], 1)

    def of_each(self, y: Tensor) -> dict[str, Tensor]:
        """Return each task's known labels in the format of its problem."""
        known = self.known(y)
        return {
            name: task.own_labels(y[known[:, k]][:, task.labels]) for k, (name, task) in enumerate(self.tasks.items())
        }

    def parts(self, outputs: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Split a batch into each task's outputs and labels, for the samples with its labels."""
        known = self.known(y)
        return {
            name: (outputs[known[:, k]][:, task.outputs], task.own_labels(y[known[:, k]][:, task.labels]))
            for k, (name, task) in enumerate(self.tasks.items())
        }

    # ------------------------------------------------------------------ labels

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Check the known labels of each task; training requires some for every task."""
        if y.dim() != 2 or y.shape[1] != self.num_columns or not y.is_floating_point():
            raise UserError(
                f"the set {name!r} has labels of {y.dtype}, {tuple(y.shape)}: "
                f"give {counted(self.num_columns, 'number')} a sample"
            )
        for task, labels in self.of_each(y).items():
            if len(labels):
                self.tasks[task].problem.check(f"{name} of {task}", labels)
            elif name.endswith("train"):
                raise UserError(f"no sample of the set {name!r} has a label of the task {task}")

    def alike(self, y: Tensor) -> str | None:
        """Report a task whose labels are all the same, if there is one."""
        for name, labels in self.of_each(y).items():
            if len(labels) and (common := self.tasks[name].problem.alike(labels)) is not None:
                return f"{common} of the task {name}"
        return None

    def learn(self, y: Tensor) -> None:
        """Fit the parameters of each task's problem to its labels."""
        for name, labels in self.of_each(y).items():
            self.tasks[name].problem.learn(labels)

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the tasks' losses; weights and smoothing apply to tasks that predict classes or labels.

        Raises:
            UserError: an option applies to none of the tasks.
        """
        labels = {} if y is None else self.of_each(y)
        criteria, num_applicable = [], 0
        for name, task in self.tasks.items():
            chosen = (
                {}
                if task.problem.predicts_numbers
                else {"class_weights": class_weights, "label_smoothing": label_smoothing}
            )
            num_applicable += not task.problem.predicts_numbers
            criteria.append(task.problem.criterion(labels.get(name), **cast(dict[str, Any], chosen)))
        if not num_applicable and (class_weights is not None or label_smoothing):
            raise UserError(
                "strategy.class_weights and label_smoothing do not apply to tasks that predict numbers: leave them out"
            )
        return SeveralCriterion(self.tasks, criteria)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Sum each sample's losses over the tasks with known labels, ``(B,)``."""
        return self.criterion(None)(outputs, y, reduction="none")

    def strata(self, y: Tensor) -> Tensor:
        """Group samples by the set of tasks with known labels."""
        return self.known(y).unique(dim=0, return_inverse=True)[1]

    def groups(self, y: Tensor) -> Groups:
        """Group samples by the set of tasks with known labels."""
        patterns, number = self.known(y).unique(dim=0, return_inverse=True)
        names = [
            " and ".join(name for name, has in zip(self.tasks, row, strict=True) if has) or "none"
            for row in patterns.tolist()
        ]
        return Groups(number, names, "task")

    def facts(self, y: Tensor) -> dict[str, str]:
        """Return each task's kind and its number of training labels."""
        descriptions = [
            f"{name} ({task.problem.name.replace('_', '-')}, {counted(len(labels), 'label')})"
            for (name, task), labels in zip(self.tasks.items(), self.of_each(y).values(), strict=True)
        ]
        return {"tasks": ", ".join(descriptions)}

    # ------------------------------------------------------------------ predictions

    def predict(self, outputs: Tensor) -> Prediction:
        """Predict every task, with concatenated values ``(N, W)`` and probabilities ``(N, C)``, NaN for numbers."""
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
        """Format the prediction of every task after its name.

        Examples:
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
        """Return each task's columns, prefixed with its name."""
        found: dict[str, list[str]] = {}
        assert prediction.probabilities is not None
        for name, task in self.tasks.items():
            shares = None if task.problem.predicts_numbers else prediction.probabilities[:, task.outputs]
            values, confidence = task.own_labels(prediction.values[:, task.labels]), None
            if shares is not None:
                decided = shares if task.problem.numbers_outputs else torch.maximum(shares, 1 - shares)
                confidence = decided.max(1).values if task.problem.numbers_outputs else decided.min(1).values
            of_task = task.problem.columns(Prediction(values, confidence, shares))
            found |= {f"{name}: {column}": cells for column, cells in of_task.items()}
        return found

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build a meter for each task."""
        meters = {name: task.problem.meter() for name, task in self.tasks.items()}
        return SeveralMeter(meters, self.parts, {name: task.problem.monitor for name, task in self.tasks.items()})

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute each task's scores on the samples of a batch that have its labels."""
        return {
            f"{name}_{score}": value
            for name, (of_task, labels) in self.parts(outputs, y).items()
            if len(labels)
            for score, value in self.tasks[name].problem.batch_scores(of_task, labels).items()
        }

    def calibrate(self, meter: Meter) -> None:
        """Calibrate each task's problem."""
        if isinstance(meter, SeveralMeter):
            for name, task in self.tasks.items():
                task.problem.calibrate(meter.of(name))

    # ------------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Any]:
        """Return the state with those of the tasks, in order."""
        return {**super().state(), "tasks": [[name, task.problem.state()] for name, task in self.tasks.items()]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the tasks' states."""
        for name, of_task in state["tasks"]:
            self.tasks[name].problem.load_state(of_task)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Several":
        """Rebuild the problem and its tasks from :meth:`state`."""
        from tl_lab.problems import restore

        return cls(tasks={str(name): restore(of_task) for name, of_task in state["tasks"]})
