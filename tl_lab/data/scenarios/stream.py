"""A task stream: training on one task after the other, scoring on all of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.batches import Labelled
from tl_lab.data.inputs.operations import Inputs, join, take
from tl_lab.data.loaders import Batches, BatchOrder, PairLoader, Transform
from tl_lab.data.names import SetName
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.task_outputs import SCENARIOS, Outputs
from tl_lab.errors import UserError
from tl_lab.problems import Problem
from tl_lab.randomness import generator

__all__ = ["JointLoader", "TaskStream"]


class TaskStream(DataModule):
    """Tasks with separate sets, ``task1/train``, ``task1/val``, ``task1/test``, ``task2/train`` ...

    Tasks are trained one after the other, each for ``trainer.max_epochs`` epochs, or all together by a strategy with
    joint training. Tasks may be domain pairs (``task1/source/train`` ...). Labels are numbers of the head's outputs:
    those of a task follow those of the previous task, unless tasks share their outputs.

    A subclass implements :meth:`read_tasks`, and :meth:`change` if each task transforms its inputs.

    Args:
        scenario: what is known about the task when a sample is classified (see :class:`Outputs`).
        evaluate: must be ``last``: the weights after the last task are tested.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    traits = frozenset({"labels", "tasks"})
    keeps_best = False
    changes_by_epoch = True
    in_tasks = True
    every_class = False
    has_bound = "for one pair of domains; a stream of pairs has none"
    inner: ClassVar[str] = "of"
    """Name of the option with the data of the tasks: one data choice, or a list."""
    scrambles: ClassVar[bool] = False
    """Whether tasks transform their inputs such that a model cannot label untransformed inputs."""

    def __init__(
        self,
        *,
        scenario: Literal["task", "domain", "class"] = "domain",
        evaluate: Literal["last", "best"] = "last",
        **options: Any,
    ) -> None:
        super().__init__(evaluate=evaluate, **options)
        if scenario not in SCENARIOS:
            raise UserError(f"data.scenario must be one of {', '.join(map(repr, SCENARIOS))}, not {scenario!r}")
        if self.evaluate != "last":
            raise UserError(
                f"data.evaluate must be 'last' for a task stream, not {self.evaluate!r}: a stream has no best epoch "
                "(strategy.task_ends_with=best keeps each task's best weights)"
            )
        self.scenario = scenario
        self.task_classes: list[list[str]] = []
        self.template: DataModule | None = None  # data of one of the tasks, for the names of its sets
        self._tested: list[str] = []  # names of the test sets within a task

    # ------------------------------------------------------------------ implemented by subclasses

    def _made_of(self) -> DataModule | None:
        return self.template

    @abstractmethod
    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read each task's sets, with labels counted from 0 within the task; set ``task_classes`` and ``template``.

        Raises:
            UserError: the data cannot be read, or do not permit this number of tasks.
        """

    def change(self, task: int) -> Callable[[Any], Inputs] | None:
        """Return a task's transformation of the network's inputs, ``(B, ...)``; None for no transformation."""
        return None

    def describe_order(self) -> str:
        """Describe the tasks and their order, which must be the same when a stream is resumed."""
        return " | ".join(" ".join(names) for names in self.task_classes)

    def describe_tasks(self) -> str:
        """Describe the tasks in their order for the banner."""
        return self.describe_order()

    # ------------------------------------------------------------------ reading

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Return the problem of the tasks' data."""
        from tl_lab.data.scenarios.inner import inner_problems

        return inner_problems(node.get(cls.inner))[0]

    @classmethod
    def modality_for(cls, node: Mapping[str, Any]) -> str:
        """Return the modality of the tasks' data."""
        from tl_lab.data.scenarios.inner import inner_modalities

        return inner_modalities(node.get(cls.inner))[0]

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Return the traits, with a target if the tasks are pairs of domains."""
        from tl_lab.data.scenarios.inner import inner_classes

        kinds = inner_classes(node.get(cls.inner))
        return cls.traits | ({"target"} if kinds and all(issubclass(kind, DomainPair) for kind in kinds) else set())

    @classmethod
    def classes_change(cls, node: Mapping[str, Any]) -> str:
        """Explain that tasks have their own classes, unless they share their outputs."""
        if (scenario := node.get("scenario")) == "domain":
            return ""
        return f"data.scenario={scenario} changes the classes from task to task: use data.scenario=domain, or an"

    def read(self) -> dict[str, Samples]:
        """Read all tasks, check that the scenario supports them, and shift their labels to the task's outputs."""
        tasks = self.read_tasks()
        assert self.template is not None
        if len(tasks) < 2:
            raise UserError(f"a stream needs at least 2 tasks, not {len(tasks)}")
        self._tested = list(self.template.serving(tasks[0]).test_names)  # for a pair, the target's if it has labels
        self.problem_kind = self.template.problem_kind
        if self.scenario != "domain" and not self.problem_kind.numbers_outputs:
            kind = self.problem_kind.name.replace("_", "-")
            raise UserError(
                f"data.scenario={self.scenario} requires separate outputs for each task, but the tasks of a {kind} "
                "problem share theirs: use scenario=domain"
            )
        sizes = tuple(len(names) for names in self.task_classes)
        if self.scenario == "domain" and len(set(sizes)) > 1:
            raise UserError(
                f"data.scenario=domain uses one head for all tasks, but the tasks have {', '.join(map(str, sizes))} "
                "classes: use scenario=task or class"
            )
        self.outputs = Outputs(self.scenario, sizes)
        self.class_names = self._output_names()
        self.primary = str(SetName.of_task(0, self.template.primary))
        return {
            str(SetName.of_task(k, name)): replace(samples, y=_shifted(samples.y, self.outputs.offset(k)))
            for k, sets in enumerate(tasks)
            for name, samples in sets.items()
        }

    def _output_names(self) -> list[str]:
        if self.scenario == "domain":
            together = zip(*self.task_classes, strict=True)
            return ["/".join(dict.fromkeys(names)) for names in together]
        names = [name for names in self.task_classes for name in names]
        if len(set(names)) == len(names):
            return names
        return [f"{self.task_name(k)}: {name}" for k, own in enumerate(self.task_classes) for name in own]

    def _what_else_identifies(self) -> str:
        return f"{self.scenario} {self.describe_order()}"

    # ------------------------------------------------------------------ tasks and their sets

    @property
    def num_tasks(self) -> int:
        """Number of tasks T."""
        assert self.outputs is not None, "load() comes first"
        return self.outputs.num_tasks

    @property
    def total_epochs(self) -> int:
        """Total number of epochs of all tasks."""
        return self.num_tasks * self.request.epochs_per_task

    def total_epochs_for(self, epochs: int) -> int:
        """Return the total number of epochs if each task has ``epochs``."""
        return self.num_tasks * epochs

    def describe_sizes(self) -> list[str]:
        """Describe the number of tasks and the range of sizes of their sets, for the banner."""
        parts: dict[str, list[int]] = {}
        for name, samples in self.sets.items():
            parts.setdefault(str(SetName.parse(name)._replace(task=None)), []).append(len(samples))
        sizes = [f"{name} {min(n):,}" + (f" to {max(n):,}" if min(n) < max(n) else "") for name, n in parts.items()]
        return [f"{self.num_tasks} tasks ({self.describe_tasks()}), each {sizes[0]}", *sizes[1:]]

    @staticmethod
    def task_name(task: int) -> str:
        """Return the name of a task, counted from 0: ``task1`` is the first."""
        return f"task{task + 1}"

    def task_at(self, epoch: int) -> int:
        """Return the number of the task, from 0, that is trained in an epoch; the last if all are trained together."""
        last = self.num_tasks - 1
        return last if self.request.jointly else min(epoch // self.request.epochs_per_task, last)

    def train_name(self, task: int) -> str:
        """Return the name of the labelled training set of a task."""
        assert self.template is not None
        return str(SetName.of_task(task, self.template.primary))

    def scored_name(self, task: int, part: str = "test") -> str:
        """Return the name of a task's set that the accuracy matrix uses; for a pair, target/test or source/val."""
        names = self._tested if part == "test" else self._labelled_val_names()
        return str(SetName.of_task(task, names[-1]))

    @property
    def has_target(self) -> bool:
        """Whether the tasks are pairs of domains."""
        return isinstance(self.template, DomainPair)

    def _shares_on_purpose(self, name: str, other: str) -> bool:
        of_task, of_other = (SetName.parse(one)._replace(task=None) for one in (name, other))
        return self.template is not None and self.template._shares_on_purpose(str(of_task), str(of_other))

    def set_for(self, name: str) -> str:
        """Return the name of a pair's set, such as ``target/train``, within the current task."""
        return name if name in self.sets else str(SetName.of_task(self._now, name))

    @property
    def _now(self) -> int:
        return 0 if self.trainer is None else self.task_at(self.trainer.current_epoch)

    def _labelled_val_names(self) -> list[str]:
        assert self.template is not None
        return [name for name in self.template.val_names if SetName.parse(name).domain != "target"]

    @property
    def val_names(self) -> list[str]:
        """Names of the validation sets of the tasks up to the current one."""
        return [str(SetName.of_task(k, name)) for k in range(self._now + 1) for name in self._labelled_val_names()]

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets of all tasks."""
        return [str(SetName.of_task(k, name)) for k in range(self.num_tasks) for name in self._tested]

    @property
    def training_labels(self) -> Tensor:
        """Labels of the training sets of all tasks, ``(N, ...)``."""
        labels = [self.sets[self.train_name(k)].y for k in range(self.num_tasks)]
        return torch.cat([y.cpu() for y in labels if y is not None])

    def facts(self) -> dict[str, str]:
        """Report the scenario and the tasks in addition to the facts of all data."""
        return {**super().facts(), "scenario": f"{self.scenario}-incremental, {self.num_tasks} tasks"}

    # ------------------------------------------------------------------ loaders

    def train_dataloader(self) -> Batches:
        """Return the loader of the current task, or of all tasks for joint training."""
        if self.request.jointly:
            return self._joint_loader()
        source = self.train_loader(self.train_name(self._now))
        if not self.request.adapts:
            return source
        target = str(SetName.of_task(self._now, "target/train"))
        return PairLoader(source, self.train_loader(target, num_batches=len(source), batch_size=source.order.size))

    def _joint_loader(self) -> "JointLoader":
        counts = [len(self.sets[self.train_name(k)]) for k in range(self.num_tasks)]
        # as many batches as training the tasks one after the other takes
        batches = self.batches_per_epoch or max(1, sum(counts) // (self.batch_size * self.num_tasks))
        rank, world_size = self._processes()
        order = BatchOrder(sum(counts), self.batch_size, True, self.seed, "joint", batches, rank, world_size)
        return JointLoader(self, order, counts)

    def cut(self, task: Tensor, index: Tensor, draw: torch.Generator | None = None) -> Labelled:
        """Return training samples of several tasks, converted to the backbone's input format.

        Args:
            task: number of each sample's task, ``(B,)``.
            index: position of each sample in its task's training set, ``(B,)``.
            draw: random generator for augmentation; None for no augmentation.

        Returns:
            The samples in this order, with their tasks.
        """
        inputs: list[Inputs] = []
        labels: list[Tensor] = []
        places: list[Tensor] = []
        for k in task.unique().tolist():
            name = self.train_name(k)
            here = (task == k).nonzero()[:, 0]
            y = self.sets[name].y
            assert y is not None
            inputs.append(self.inputs_at(name, index[here], draw))
            labels.append(y[index[here]])
            places.append(here)
        assert places, "there is nothing to fetch"
        if len(places) == 1:
            return Labelled(inputs[0], labels[0], index, task=task)
        order = torch.cat(places).argsort()
        return Labelled(take(join(inputs, self.padding), order), torch.cat(labels)[order], index, task=task)

    def _transform(self, name: str, training: bool) -> Transform | None:
        prepare, change = super()._transform(name, training), self.change(SetName.parse(name).task_number)
        if change is None:
            return prepare

        def transform(x: Any, draw: torch.Generator) -> Inputs:
            return change(x if prepare is None else prepare(x, draw))

        return transform


class JointLoader:
    """Loads batches in which the training samples of all tasks are mixed.

    Args:
        data: the stream.
        order: order of the samples of all tasks, numbered from those of the first task on.
        counts: number of training samples of each task.
    """

    def __init__(self, data: TaskStream, order: BatchOrder, counts: list[int]) -> None:
        self.data, self.order = data, order
        self.ends = torch.tensor(counts).cumsum(0).to(data.device)
        self.epoch = 0
        self.sampler, self.batch_sampler = self, None  # Lightning calls set_epoch of an attribute called sampler

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Labelled]:
        return self.data.waiting.timed(self._batches())

    def _batches(self) -> Iterator[Labelled]:
        draw = generator(self.order.seed, "augmentation", self.order.name, self.epoch, self.order.rank)
        for place in self.order.epoch(self.epoch, self.data.device):
            task = torch.searchsorted(self.ends, place, right=True)
            starts = torch.cat([self.ends.new_zeros(1), self.ends[:-1]])
            yield self.data.cut(task, place - starts[task], draw)


def _shifted(y: Tensor | None, offset: int) -> Tensor | None:
    return y if y is None or not offset else y + offset
