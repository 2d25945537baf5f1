"""A task stream in which each task is a data set."""

from collections.abc import Mapping, Sequence
from typing import Any

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.operations import sample_shape
from tl_lab.data.request import Request
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.inner import (
    build_inner,
    inner_modalities,
    inner_problems,
    name_of,
    read_inner,
    refuse_tables,
)
from tl_lab.data.scenarios.inner_names import names_of, places_of_alike
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.errors import UserError
from tl_lab.problems import Problem
from tl_lab.texts import listed

__all__ = ["DataStream"]


class DataStream(TaskStream):
    """Train on several labelled sets, or several pairs of domains, one after the other.

    Images of all sets are converted to the backbone's input format. A backbone built for the data takes the size of
    the largest images and the largest number of channels. Sets of one choice, such as two folders of images, are named
    by the folder or file that they read.

    Args:
        datasets: the sets in the order of training: names of data choices, built with the values in their files, or
            mappings with this name and further options (``{data: image_folder, root: photos}``).
        options: see :class:`~tl_lab.data.scenarios.stream.TaskStream`. With ``scenario=task`` each set has a separate
            head; with ``domain`` all sets share one head, where classes of the same number share an output; ``class``
            distinguishes the classes of all sets.

    Raises:
        UserError: there are fewer than two sets, an unknown name, both sets and pairs, or a nested stream.
    """

    inner = "datasets"

    def __init__(self, *, datasets: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if isinstance(datasets, str) or len(datasets) < 2:
            raise UserError(f"data.datasets must list at least two sets, as in [mnist,fashion_mnist], not {datasets!r}")
        self.given = [name_of(one) for one in datasets]
        # the order is part of the data's identity, and older runs name modules by their classes
        self._in_order = [
            type(one).__name__.lower() if isinstance(one, DataModule) else name
            for one, name in zip(datasets, self.given, strict=True)
        ]
        self.modules = [build_inner(one, self.seed) for one in datasets]
        self.names = names_of(self.given, places_of_alike(self.given, self.modules))
        pairs = [isinstance(module, DomainPair) for module in self.modules]
        if any(pairs) and not all(pairs):
            raise UserError(
                f"data.datasets must be all labelled sets or all pairs of domains, not both: {', '.join(self.given)}"
            )
        if any(isinstance(module, TaskStream) for module in self.modules):
            raise UserError(f"data.datasets must be sets, not streams: {', '.join(self.given)}")

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Return the problem of the sets.

        Raises:
            UserError: the sets have different problems.
        """
        kinds = list(dict.fromkeys(inner_problems(node.get(cls.inner) or [])))
        if len(kinds) > 1:
            raise UserError(
                f"data.datasets have labels of different kinds, {listed([kind.name for kind in kinds])}: list sets of "
                "one kind, or learn them at once by strategy=multi_task data=tasks"
            )
        return super().problem_for(node)

    @classmethod
    def modality_for(cls, node: Mapping[str, Any]) -> str:
        """Return the modality of the sets.

        Raises:
            UserError: the sets have different modalities.
        """
        kinds = list(dict.fromkeys(inner_modalities(node.get(cls.inner) or [])))
        if len(kinds) > 1:
            raise UserError(f"data.datasets have different kinds of inputs, {listed(kinds)}: list sets of one kind")
        refuse_tables(kinds)
        return super().modality_for(node)

    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read the sets, each of which is a task."""
        self.template = self.modules[0]
        tasks = [
            module.limited(read_inner(module, name, "data.datasets"))
            for module, name in zip(self.modules, self.given, strict=True)
        ]
        self.task_classes = [list(module.class_names) for module in self.modules]
        return tasks

    def load(self, request: Request | None = None) -> None:
        """Read the sets, and set the shape to their largest number of channels, height and width."""
        super().load(request)
        inputs = [self.sets[self.train_name(k)].x for k in range(self.num_tasks)]
        # the options of data on disk determine their size
        shapes = [
            sample_shape(x) if in_memory(x) else module.shape for x, module in zip(inputs, self.modules, strict=True)
        ]
        if not all(shapes):
            self._shape = ()  # texts and named tensors have no size
            return
        whole = [(*shape, 1, 1)[:3] for shape in shapes]  # vectors (N, D) are D channels of one pixel
        self._shape = max(s[0] for s in whole), max(s[1] for s in whole), max(s[2] for s in whole)

    def describe_order(self) -> str:
        """Return the choices of the sets in order, which stay the same if their folders are moved."""
        return ", ".join(self._in_order)

    def describe_tasks(self) -> str:
        """Return the names of the sets in order."""
        return ", ".join(self.names)
