"""Base class of strategies that train on one task after another: task boundaries, heads, accuracies."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled, Unlabelled
from tl_lab.data.names import SetName
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.errors import UserError
from tl_lab.functional import average_accuracy, backward_transfer, forgetting, forward_transfer
from tl_lab.model.heads import TaskHead
from tl_lab.problems.single_label import CrossEntropy
from tl_lab.results.folder.accuracy_matrix_csv import write_accuracy_matrix
from tl_lab.strategies.base import Strategy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ContinualStrategy"]


class ContinualStrategy(Strategy):
    """Train on the tasks of a stream in order.

    Subclasses implement :meth:`start_task`, :meth:`end_task` and hooks of :class:`~tl_lab.strategies.base.Strategy`.

    The steps of each task are: keep or reset the optimizer's state, :meth:`start_task`, the epochs, the choice of the
    final weights, :meth:`end_task`, the accuracy on every task's test set (a row of the accuracy matrix). Subclasses
    keep their state between tasks in buffers or in the checkpoint, so that a resumed stream gives the same result.

    Schedules (learning rate, lambda) restart with each task; the layer policy counts epochs over the whole stream.

    Args:
        optimizer_state: ``keep`` the optimizer's state (momentum, squares of gradients) at the start of each further
            task, or ``reset`` it.
        task_ends_with: weights at the end of a task, from which the next one starts: the ``last``, or the ``best`` on
            the task's own validation set.
        options: keyword arguments of :class:`~tl_lab.strategies.base.Strategy`.
    """

    needs = frozenset({"labels", "tasks"})
    handles = frozenset({"labels", "tasks", "target"})
    jointly: ClassVar[bool] = False
    """Whether all tasks are trained at once."""

    accuracy_matrix: Tensor
    within_task_matrix: Tensor

    def __init__(
        self,
        *,
        optimizer_state: Literal["keep", "reset"] = "keep",
        task_ends_with: Literal["last", "best"] = "last",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if optimizer_state not in ("keep", "reset"):
            raise UserError(f"strategy.optimizer_state must be 'keep' or 'reset', not {optimizer_state!r}")
        if task_ends_with not in ("last", "best"):
            raise UserError(f"strategy.task_ends_with must be 'last' or 'best', not {task_ends_with!r}")
        if self.criterion.balanced:
            raise UserError("strategy.class_weights must be null for a stream of tasks, whose classes change")
        assert options.get("outputs") is not None, "a strategy for streams needs the assignment of outputs to tasks"
        self.outputs = options["outputs"]
        if isinstance(self.criterion, CrossEntropy):
            self.criterion.ragged = self.outputs.scenario == "task" and len(set(self.outputs.sizes)) > 1
        self.optimizer_state, self.task_ends_with = optimizer_state, task_ends_with
        count = self.outputs.num_tasks
        # row 0: before training; row i: after task i; NaN: not measured
        empty = torch.full((count + 1, count), torch.nan, dtype=torch.float64)
        self.register_buffer("accuracy_matrix", empty)
        self.register_buffer("within_task_matrix", empty.clone())
        self.task = 0  # the current task, or the last one after training
        self._viewed = 0  # the task of the current samples
        self._began_at = 0  # number of updates when the task started
        self._best: tuple[float, dict[str, Tensor]] | None = None

    # ------------------------------------------------------------------ hooks

    def start_task(self, task: int) -> None:
        """Run before the first update of a task, counted from 0."""

    def end_task(self, task: int) -> None:
        """Run after a task's last update, at the weights from which the next task starts."""

    @property
    def current_share(self) -> float:
        """Return the factor of the current task's loss, for methods that share the objective between tasks."""
        return 1.0

    def task_loss(self, logits: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss of one task, times the current task's share."""
        loss, share = super().task_loss(logits, y, weights), self.current_share
        return loss if share == 1 else share * loss

    # ------------------------------------------------------------------ heads

    @property
    def head(self) -> TaskHead:
        """The classifier; each block of outputs belongs to a task."""
        head = self.network.head
        assert isinstance(head, TaskHead)
        return head

    def view(self, task: int) -> None:
        """Select the outputs that are in use for samples of a task."""
        self._viewed = task
        self.head.active = self.outputs.active(task, self.task)

    def classify(self, features: Tensor, batch: Labelled) -> tuple[Tensor, Tensor]:
        """Return the logits of the outputs in use and the class indices among them, per sample for mixed batches."""
        if batch.task is None or self.outputs.scenario != "task":
            return self.network.head(features), self.problem.renumber(batch.y, -self.outputs.first_active(self._viewed))
        first = torch.tensor(
            [self.outputs.first_active(k) for k in range(self.outputs.num_tasks)], device=batch.y.device
        )
        return self.head.each(features, batch.task), batch.y - first[batch.task]

    # ------------------------------------------------------------------ tasks

    def replay_key(self) -> int:
        """Treat tasks as separate conditions, which differ in protected weights, labels and outputs."""
        return self.task

    @property
    def stream(self) -> TaskStream:
        """The running trainer's data."""
        data = self.data
        assert isinstance(data, TaskStream)
        return data

    @property
    def progress(self) -> float:
        """Completed share of the task's updates, in [0, 1]; of all updates if tasks are trained at once."""
        epochs = self.stream.total_epochs if self.jointly else self.stream.request.epochs_per_task
        return (self.updates_done - self._began_at) / max(1, self.updates_per_epoch * epochs)

    def on_fit_start(self) -> None:
        """Measure every task before the first update, as the baseline of forward transfer."""
        self.prepare(self.data)
        if self.updates_done == 0:
            self._measure_row(0)

    def on_train_epoch_start(self) -> None:
        """Start a task at its first batch."""
        super().on_train_epoch_start()
        epoch = self.current_epoch
        self.task = self.stream.task_at(epoch)
        self.view(self.task)
        first = epoch == 0 or (not self.jointly and epoch % self.stream.request.epochs_per_task == 0)
        if not first:
            return
        self._began_at, self._best = self.updates_done, None
        if self.optimizer_state == "reset" and epoch > 0:
            self.optimizers().state.clear()  # type: ignore[union-attr]
        self.adaptation.before_training(self.reader(self.data))
        self.start_task(self.task)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of every set and their mean over tasks, which compares runs; keep the best weights."""
        super().on_validation_epoch_end()
        if self.trainer.sanity_checking:
            return
        seen = range(self.task + 1)
        metric = self.problem.monitor
        scores = [self.last_validation[f"{self._val_prefix(k)}/{metric}"] for k in seen]
        mean = {f"val/{metric}": sum(scores) / len(scores)}
        self.last_validation |= mean
        self.record(mean)
        if self.task_ends_with == "best" and (self._best is None or scores[-1] > self._best[0]):
            state = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
            self._best = scores[-1], state

    def on_train_epoch_end(self) -> None:
        """End a task after its last update, before the checkpoint is written."""
        super().on_train_epoch_end()
        epochs = self.stream.total_epochs if self.jointly else self.stream.request.epochs_per_task
        if (self.current_epoch + 1) % epochs:
            return
        if self._best is not None:
            self.network.load_state_dict(self._best[1])
        self.view(self.task)
        self.end_task(self.task)
        self._measure_row(self.task + 1)
        self.train()

    # ------------------------------------------------------------------ measuring

    def setup(self, stage: str) -> None:
        """Create the metrics of all tasks' sets."""
        stream = self.stream
        for name in stream.sets:
            if (where := SetName.parse(name)).part != "train":
                of_set = self.outputs.sizes[where.task_number] if self.outputs.scenario == "task" else None
                self.meters[name] = self.problem.meter(of_set or self.num_outputs)
                if self.outputs.scenario == "class":
                    self.meters[f"{name}/within"] = self.problem.meter(self.num_outputs)

    def calibrates_on(self, name: str) -> bool:
        """Whether thresholds are chosen on a validation set, which must be that of the current task."""
        return self.stream.scored_name(self.task, "val") == name

    def _measure(self, name: str, batch: Labelled | Unlabelled, batch_idx: int) -> None:
        self.view(SetName.parse(name).task_number)
        if batch_idx == 0:
            self._prepared.discard(str(self.stream.domain_of(name)))  # prepared for another task
        super()._measure(name, batch, batch_idx)
        self.view(self.task)

    def _take_in(self, name: str, features: Tensor, batch: Labelled | Unlabelled) -> None:
        """Update the set's metric; for class-incremental streams also the metric that assumes a known task."""
        super()._take_in(name, features, batch)
        if self.outputs.scenario == "class" and isinstance(batch, Labelled):
            task = self._viewed
            self.head.active = (task,)
            own = self.head(features)
            logits = own.new_full((len(own), self.num_outputs), -torch.inf)
            logits[:, self.outputs.offset(task) : self.outputs.offset(task) + own.shape[1]] = own
            self.meters[f"{name}/within"].update(logits, batch.y)  # type: ignore[operator]

    @torch.no_grad()
    def _measure_row(self, row: int) -> None:
        """Compute the score on every task's test set; for class-incremental streams only on tasks seen so far."""
        was_training, precision = self.training, self.trainer.precision_plugin
        self.eval()
        seen = row if self.outputs.scenario == "class" else self.outputs.num_tasks
        for task in range(seen):
            name = self.stream.scored_name(task)
            limit = self.trainer.limit_test_batches
            for i, batch in enumerate(self.stream.loader(name)):
                if isinstance(limit, int) and i >= limit:
                    break
                with precision.forward_context():
                    self._measure(name, precision.convert_input(batch), i)
            self.accuracy_matrix[row, task] = self._take(name)[self.problem.monitor]
            if f"{name}/within" in self.meters:
                self.within_task_matrix[row, task] = self._take(f"{name}/within")[self.problem.monitor]
        self._prepared.clear()
        self.train(was_training)

    def _take(self, name: str) -> dict[str, float]:
        return self.meters[name].compute()  # type: ignore[operator]

    def _val_prefix(self, task: int) -> str:
        return SetName.parse(self.stream.scored_name(task, "val")).validation_metrics

    def _scores(self, prefixes: Any) -> dict[str, float]:
        scores, metric = super()._scores(prefixes), self.problem.monitor
        for name, prefix in prefixes.items():
            if f"{name}/within" in self.meters:
                scores[f"{prefix}/within_task_{metric}"] = self._take(f"{name}/within")[metric]
        return scores

    def on_test_epoch_end(self) -> None:
        """Add summaries of the accuracy matrix to the scores of the test sets."""
        super().on_test_epoch_end()
        summary = self.summary()
        self.last_test |= summary
        self.record(summary)

    def summary(self) -> dict[str, float]:
        """Compute mean accuracy, backward transfer, forward transfer and forgetting, as far as they are defined."""
        learned, before = self.accuracy_matrix[1:], self.accuracy_matrix[0]
        found = {self.problem.monitor: average_accuracy(learned)}
        if not self.jointly:
            found |= {"bwt": backward_transfer(learned), "forgetting": forgetting(learned)}
            if self.outputs.scenario != "class":  # outputs of unseen classes predict nothing
                found["fwt"] = forward_transfer(learned, before)
        if self.outputs.scenario == "class":
            found[f"within_task_{self.problem.monitor}"] = average_accuracy(self.within_task_matrix[1:])
        return {f"test/{name}": float(value) for name, value in found.items()}

    def artifacts(self, folder: Path, data: DataModule) -> dict[str, Any]:
        """Write the score on every task after every task."""
        assert isinstance(data, TaskStream)
        matrices = {"accuracy_matrix": self.accuracy_matrix.tolist()}
        if data.scenario == "class":
            matrices["within_task_accuracy_matrix"] = self.within_task_matrix.tolist()
        for name, matrix in matrices.items():
            tasks = [data.task_name(task) for task in range(len(matrix) - 1)]
            write_accuracy_matrix(folder / f"{name}.csv", matrix, tasks)
        return matrices

    def figures(self, data: DataModule) -> "dict[str, Figure]":
        """Draw how the score on each task changes over the stream."""
        from tl_lab.strategies.continual.figures import figures_of_stream

        assert isinstance(data, TaskStream)
        return figures_of_stream(self, data)

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the position in the stream; matrices and the state of methods are buffers."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["stream"] = {
            "order": self.stream.describe_order(),
            "task": self.task,
            "began_at": self._began_at,
            "best": None if self._best is None else list(self._best),
        }
        checkpoint["model"]["scrambled"] = self.stream.scrambles
        checkpoint["model"]["outputs"] = {"scenario": self.outputs.scenario, "sizes": list(self.outputs.sizes)}

    def restore(self, checkpoint: dict[str, Any], data: DataModule) -> None:
        """Restore the position in the stream.

        Raises:
            UserError: the checkpoint was written on other tasks, or the same in another order.
        """
        super().restore(checkpoint, data)
        assert isinstance(data, TaskStream)
        kept = checkpoint["stream"]
        if (now := data.describe_order()) != kept["order"]:
            raise UserError(
                f"the checkpoint belongs to another stream of tasks: it was trained on {kept['order']!r}, but this run "
                f"has {now!r}: resume with the configuration that the run was started with"
            )
        self.task, self._began_at = kept["task"], kept["began_at"]
        self._best = None if kept["best"] is None else (kept["best"][0], kept["best"][1])
