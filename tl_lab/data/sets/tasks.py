"""Several data sets for multi-task training: one backbone, and one head for each set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.operations import sample_shape
from tl_lab.data.loaders import Batches, BatchOrder, Loader, PairLoader
from tl_lab.data.names import SetName
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.inner import (
    build_inner,
    inner_classes,
    inner_modalities,
    name_of,
    read_inner,
    refuse_tables,
)
from tl_lab.data.scenarios.inner_names import names_of, places_of_alike, same_sets
from tl_lab.data.splits import few_in_strata
from tl_lab.errors import UserError, nearest
from tl_lab.evaluation import TASK_MEAN
from tl_lab.functional import annealed_exponent, sampling_shares
from tl_lab.options import Positive
from tl_lab.problems import Problem, Several
from tl_lab.randomness import generator

__all__ = ["TaskOrder", "Tasks", "TasksInBatches"]

SAMPLINGS = ("proportional", "uniform", "temperature", "annealed")
_PARTS = ("train", "val", "test")


@dataclass
class TaskOrder(BatchOrder):
    """Batches in which each position is assigned to a random task, and filled with the next sample of that task.

    Args:
        tasks: number of each sample's task, ``(count,)``.
        shares: function from an epoch to the probability of each task, ``(T,)``.
    """

    tasks: Tensor | None = None
    shares: Any = None

    def _permutations(self, epoch: int, length: int) -> Tensor:
        assert self.tasks is not None
        draw = generator(self.seed, "order", self.name, epoch)
        chosen = torch.multinomial(self.shares(epoch), length, replacement=True, generator=draw)
        index = torch.empty(length, dtype=torch.int64)
        for task in range(int(self.tasks.max()) + 1):
            members, places = (self.tasks == task).nonzero()[:, 0], (chosen == task).nonzero()[:, 0]
            passes = -(-len(places) // len(members))
            order = [members[torch.randperm(len(members), generator=draw)] for _ in range(passes)]
            index[places] = torch.cat(order)[: len(places)] if order else places
        return index


class TasksInBatches(DataModule):
    """Base class of data for several tasks; ``test_count`` limits the test samples of each of their sets.

    Args:
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    traits = frozenset({"labels", "several tasks"})
    problem_kind: type[Problem] = Several

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.several = Several()
        self.mean_name = TASK_MEAN
        """Name of the metric that is the mean over the tasks."""

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Return the problem class for several tasks, whatever the problems of the tasks are."""
        return Several

    def _make_problem(self) -> Problem:
        return self.several

    def limited(self, sets: dict[str, Samples]) -> dict[str, Samples]:
        """Return the sets unchanged, because :meth:`few_tested` has already limited the test samples of each set."""
        return sets

    def few_tested(self, samples: Samples, name: str) -> Samples:
        """Reduce a test set to ``test_count`` samples, and record it in ``notes``."""
        if self.test_count is None:
            return samples
        if self.test_count > len(samples):
            raise UserError(f"data.test_count={self.test_count} exceeds the {len(samples):,} test samples of {name}")
        self.notes.append(f"{name}/test: {self.test_count:,} of {len(samples):,} samples")
        return samples.subset(few_in_strata(None, len(samples), self.test_count, self.seed))


class Tasks(TasksInBatches):
    """Several labelled sets, combined; a sample has labels for the task of its own set only.

    Images on disk are decoded into memory if another set is there; they need its size and channels.

    One of the sets may be a pair of domains. Training then uses its source, and domain adaptation uses its target
    (``target/train`` without labels, ``target/test``) and applies to the samples of this task only.

    Args:
        datasets: names of data choices, built with the values in their files, or mappings with this name and further
            options (``{data: image_folder, root: photos}``). A single set is trained in the same way, as a multi-task
            problem with one task. Sets of one choice, such as two folders of images, are named by the folder or file
            that they read, with as many of its parent folders as tell them apart.
        sampling: how tasks are drawn for training batches: ``proportional`` to the sets' sizes, with each sample once
            per epoch; ``uniform``, with equal probabilities; ``temperature``, by size^(1 / temperature); ``annealed``,
            from proportional to uniform over the epochs (:func:`~tl_lab.functional.annealed_exponent`).
        temperature: temperature of ``sampling=temperature``, above 0; 1 is proportional.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    Raises:
        UserError: there is no set, a set occurs twice or is not a labelled set or pair, or modalities differ.
    """

    def __init__(
        self,
        *,
        datasets: Sequence[Any],
        sampling: Literal["proportional", "uniform", "temperature", "annealed"] = "proportional",
        temperature: Positive = 2.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if sampling not in SAMPLINGS:
            raise UserError(f"data.sampling={sampling} is unknown; {nearest(str(sampling), SAMPLINGS)}")
        if isinstance(datasets, str) or not len(datasets):
            raise UserError(f"data.datasets must be a list of sets, such as [rte,mrpc,stsb], not {datasets!r}")
        self.sampling, self.temperature = sampling, float(temperature)
        self.modules = [build_inner(one, self.seed) for one in datasets]
        self.given = [name_of(one) for one in datasets]
        self.names = _distinct_names(self.given, self.modules)
        for name, module in zip(self.names, self.modules, strict=True):
            if module.traits not in ({"labels"}, DomainPair.traits) or isinstance(module, TasksInBatches):
                raise UserError(f"data.datasets: {name} is not a plain labelled set and cannot be combined with others")

        pairs = [name for name, one in zip(self.names, self.modules, strict=True) if isinstance(one, DomainPair)]
        if len(pairs) > 1:
            raise UserError(f"data.datasets can contain at most one pair of domains, not {' and '.join(pairs)}")
        self.adapted = pairs[0] if pairs else None

    @classmethod
    def traits_for(cls, node: Mapping[str, Any]) -> frozenset[str]:
        """Return the traits, with a target if one of the sets is a pair of domains."""
        pairs = [kind for kind in inner_classes(node.get("datasets") or []) if issubclass(kind, DomainPair)]
        return cls.traits | ({"target"} if pairs else set())

    @classmethod
    def modality_for(cls, node: Mapping[str, Any]) -> str:
        """Return the modality of the sets.

        Raises:
            UserError: modalities differ.
        """
        given = node.get("datasets") or []
        if isinstance(given, str) or not len(inner_classes(given)):
            raise UserError(f"data.datasets must be a list of sets, such as [rte,mrpc,stsb], not {given!r}")
        kinds = inner_modalities(given)
        if len(set(kinds)) > 1:
            message = " and ".join(sorted(set(kinds)))
            raise UserError(f"data.datasets have different kinds of inputs, {message}: list sets of one kind")
        refuse_tables(kinds)
        return kinds[0]

    def read(self) -> dict[str, Samples]:
        """Read all sets, and combine their samples, with the labels of each task in separate columns."""
        read = {
            name: read_inner(module, given, "data.datasets")
            for name, given, module in zip(self.names, self.given, self.modules, strict=True)
        }
        read = self._in_one_place(read)
        further: dict[str, Samples] = {}
        if self.adapted is not None:
            pair = read[self.adapted]
            further = {name: samples for name, samples in pair.items() if SetName.parse(name).domain == "target"}
            read[self.adapted] = {part: pair[f"source/{part}"] for part in _PARTS}
        for name, sets in read.items():
            if lacking := [part for part in _PARTS if part not in sets]:
                raise UserError(f"data.datasets: {name} has no set {lacking[0]!r}")
        of_each = {name: module._make_problem() for name, module in zip(self.names, self.modules, strict=True)}
        self.several = Several(tasks=of_each)
        self.class_names = list(self.several.output_names)
        for name, module in zip(self.names, self.modules, strict=True):
            self.notes += [f"{name}: {note}" for note in module.notes]
            read[name]["test"] = self.few_tested(read[name]["test"], name)
        joined = {part: self._joined({name: sets[part] for name, sets in read.items()}) for part in _PARTS}
        return joined | {name: self._of_target(name, samples) for name, samples in further.items()}

    def _of_target(self, name: str, samples: Samples) -> Samples:
        if samples.y is None:
            return Samples(samples.x, None)
        assert self.adapted is not None
        return self.few_tested(
            Samples(samples.x, self.several.widened(self.adapted, samples.y)), f"{self.adapted}/target"
        )

    def _joined(self, parts: Mapping[str, Samples]) -> Samples:
        widened = []
        for name, samples in parts.items():
            assert samples.y is not None
            widened.append(Samples(samples.x, self.several.widened(name, samples.y)))
        return Samples.concatenate(widened)

    def _in_one_place(self, read: Mapping[str, dict[str, Samples]]) -> dict[str, dict[str, Samples]]:
        """Decode images on disk into memory if other sets are there, whose images have the same shape.

        Raises:
            UserError: shapes differ from those of sets in memory.
        """
        inputs = {name: next(iter(sets.values())).x for name, sets in read.items()}
        stored = [name for name, x in inputs.items() if in_memory(x)]
        if not stored:
            return dict(read)
        modules = dict(zip(self.names, self.modules, strict=True))
        shapes = {name: sample_shape(x) if in_memory(x) else modules[name].shape for name, x in inputs.items()}
        if len(set(shapes.values())) > 1:
            found = " and ".join(f"{shape} of {name}" for name, shape in shapes.items())
            able = [name for name in read if modules[name].decodes_for_backbone]
            height = {shapes[name] for name in stored if len(shapes[name]) == 3}
            advice = ""
            if able and len(height) == 1 and (one := height.pop())[1] == one[2]:
                advice = f" (set {{data: ..., size: {one[1]}, channels: {one[0]}}} for {' and '.join(able)})"
            raise UserError(f"data.datasets have inputs of different shapes, {found}: list sets of one shape{advice}")
        if decoded := [name for name in read if name not in stored]:
            _, down, across = shapes[decoded[0]]
            self.notes.append(f"{', '.join(decoded)}: images decoded to {down}x{across}, as in {', '.join(stored)}")
        bytewise = all(getattr(inputs[name], "dtype", None) == torch.uint8 for name in stored)
        return {
            name: {part: self._decoded(one, shapes[name], bytewise) for part, one in sets.items()}
            for name, sets in read.items()
        }

    def _decoded(self, samples: Samples, shape: tuple[int, ...], bytewise: bool) -> Samples:
        """Return samples in memory: images on disk as bytes, or else as numbers in [0, 1]."""
        if in_memory(samples.x):
            return samples
        spec = ImageSpec((shape[1], shape[2]), shape[0])
        x = samples.x.load_all(spec, self.workers)
        return replace(samples, x=x if bytewise else spec.fit(cast(Tensor, x)))

    def load(self, request: Request | None = None) -> None:
        """Read the sets; if they are on disk, their shape is that of the first set's options."""
        super().load(request)
        if not in_memory(self.sets[self.primary].x):
            self._shape = self.modules[0].shape

    # ------------------------------------------------------------------ the target of one task

    @property
    def has_target(self) -> bool:
        """Whether one of the tasks has a target domain."""
        return self.adapted is not None

    @property
    def test_names(self) -> list[str]:
        """Names of the combined test set and, if it has labels, of the target's."""
        return ["test", *(name for name in ("target/test",) if name in self.sets)]

    def domain_of(self, name: str) -> str | None:
        """Return the domain of a set in domain adaptation: ``target`` for the target's sets, ``source`` for others."""
        if not self.has_target:
            return None
        return "target" if SetName.parse(name).domain == "target" else "source"

    def set_for(self, name: str) -> str:
        """Return the name of the set that corresponds to a set of a pair; the source's sets contain all tasks."""
        return name if name in self.sets else SetName.parse(name).part

    def train_dataloader(self) -> Batches:
        """Return the loader of the combined sets, with the target if the run adapts."""
        source = self.train_loader(self.primary)
        if not self.request.adapts:
            return source
        size = source.order.size
        return PairLoader(source, self.train_loader("target/train", num_batches=len(source), batch_size=size))

    @property
    def reading(self) -> dict[str, Any]:
        """Return the options with which files of the first set were read, without columns that differ between sets."""
        found = dict(self.modules[0].reading)
        if any(module.reading.get("text_column") != found.get("text_column") for module in self.modules):
            found.pop("text_column", None)  # of each task, single texts and pairs are accepted
        return found

    def facts(self) -> dict[str, str]:
        """Report the sampling in addition to the facts of all data."""
        how = f"{self.sampling} {self.temperature:g}" if self.sampling == "temperature" else self.sampling
        return {**super().facts(), "sampling": how}

    def shares(self, epoch: int) -> Tensor:
        """Return the probability with which each task is drawn in an epoch, ``(T,)``."""
        exponents = {
            "proportional": 1.0,
            "uniform": 0.0,
            "temperature": 1 / self.temperature,
            "annealed": annealed_exponent(epoch, self.request.epochs_per_task),
        }
        return sampling_shares(self.several.known(self.training_labels).sum(0).cpu(), exponents[self.sampling])

    def train_loader(self, name: str, num_batches: int | None = None, batch_size: int | None = None) -> Loader:
        """Return the loader of a set; in training, the task of each position in a batch is drawn by ``sampling``."""
        loader = super().train_loader(name, num_batches, batch_size)
        if name == self.primary and self.sampling != "proportional":
            given = {field.name: getattr(loader.order, field.name) for field in fields(BatchOrder)}
            tasks = self.several.known(self.training_labels).int().argmax(1).cpu()
            loader.order = TaskOrder(**given, tasks=tasks, shares=self.shares)
        return loader


def _distinct_names(kinds: Sequence[str], modules: Sequence[DataModule]) -> list[str]:
    """Name the tasks (see :func:`~tl_lab.data.scenarios.inner_names.names_of`).

    Raises:
        UserError: a set occurs twice, or two sets have the same name.
    """
    places = places_of_alike(kinds, modules)
    names = names_of(kinds, places)
    for number, first in enumerate(same_sets(kinds, places)):
        if first < number:
            tables = ", or several label columns of one table by data=tasks_of_table"
            remedy = tables if modules[number].modality == "text" and modules[number].place_options == ("path",) else ""
            raise UserError(f"data.datasets contains {names[first]} twice: list each set once{remedy}")
        if names[number] in names[:number]:
            raise UserError(f"data.datasets contains two sets called {names[number]}: rename the folder of one")
    return names
