"""A stream whose tasks are groups of classes of a set."""

from typing import Any

import torch

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.data.splits import of_classes
from tl_lab.errors import UserError
from tl_lab.options import Several
from tl_lab.randomness import generator

__all__ = ["SplitStream"]


class SplitStream(TaskStream):
    """Split the classes of a labelled set into tasks.

    Args:
        of: the set; its own validation and test parts are split likewise.
        num_tasks: number of tasks T, each of C / T classes.
        shuffle_classes: draw the order of the classes by the seed; False keeps their order in the set.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.stream.TaskStream`. ``scenario=domain`` numbers the
            classes of each task from 0, so that all tasks share the outputs.

    Raises:
        UserError: a pair of domains, fewer classes than tasks, or a number of classes that T does not divide.

    References:
        Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017, section 5.1.
    """

    def __init__(
        self, *, of: DataModule, num_tasks: Several = 5, shuffle_classes: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        if isinstance(of, DomainPair):
            raise UserError(
                f"the classes of {type(of).__name__} cannot be split into tasks: its target's labels are withheld; "
                "use a permuted or rotated stream, or a stream of whole pairs"
            )
        if not of.problem_kind.numbers_outputs:
            raise UserError(
                f"the classes of {type(of).__name__} cannot be split into tasks: it has none, and a split requires "
                "single-label data; use a permuted or rotated stream, or a stream of whole sets"
            )
        if num_tasks < 2:
            raise UserError(f"data.num_tasks must be at least 2, not {num_tasks}")
        self.template, self.tasks_wanted, self.shuffle_classes = of, num_tasks, shuffle_classes

    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read the set, order its classes, and divide them."""
        assert self.template is not None
        sets, names = self.template.read(), self.template.class_names
        count = len(names)
        if count < self.tasks_wanted or count % self.tasks_wanted:
            valid = [str(n) for n in range(2, count + 1) if count % n == 0]
            reason = "fewer classes than tasks" if count < self.tasks_wanted else "not the same number for each task"
            raise UserError(
                f"{count} classes cannot be split into {self.tasks_wanted} tasks ({reason}): data.num_tasks is one of "
                f"{', '.join(valid) or 'none, for this set'}"
            )
        order = torch.arange(count)
        if self.shuffle_classes:
            order = torch.randperm(count, generator=generator(self.seed, "class order"))
        shares = order.view(self.tasks_wanted, -1)
        self.task_classes = [[names[c] for c in share.tolist()] for share in shares]
        return [{name: of_classes(samples, share) for name, samples in sets.items()} for share in shares]
