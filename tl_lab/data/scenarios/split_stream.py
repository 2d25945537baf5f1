"""A task stream in which each task is a group of classes of one set."""

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
        of: the set; its validation and test parts are split in the same way.
        num_tasks: number of tasks T, each with C / T classes.
        shuffle_classes: whether to draw the order of the classes by the seed, or to keep their order in the set.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.stream.TaskStream`. ``scenario=domain`` numbers the
            classes of each task from 0, so that all tasks share the outputs.

    Raises:
        UserError: the data are a pair of domains or not single-label, or the number of classes is not a multiple of T.

    References:
        Zenke, Poole and Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017, section 5.1.
    """

    def __init__(
        self, *, of: DataModule, num_tasks: Several = 5, shuffle_classes: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        if isinstance(of, DomainPair):
            raise UserError(
                f"the classes of {type(of).__name__} cannot be split into tasks, because its target's labels are "
                "withheld: use a permuted or rotated stream, or a stream of whole pairs"
            )
        if not of.problem_kind.numbers_outputs:
            raise UserError(
                f"{type(of).__name__} has no classes that can be split into tasks, which requires single-label data: "
                "use a permuted or rotated stream, or a stream of whole sets"
            )
        if num_tasks < 2:
            raise UserError(f"data.num_tasks must be at least 2, not {num_tasks}")
        self.template, self.tasks_wanted, self.shuffle_classes = of, num_tasks, shuffle_classes

    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read the set, and divide its classes among the tasks."""
        assert self.template is not None
        sets, names = self.template.read(), self.template.class_names
        count = len(names)
        if count < self.tasks_wanted or count % self.tasks_wanted:
            valid = [str(n) for n in range(2, count + 1) if count % n == 0]
            reason = "fewer classes than tasks" if count < self.tasks_wanted else "not the same number for each task"
            remedy = f"data.num_tasks must be one of {', '.join(valid)}" if valid else "there are too few classes"
            raise UserError(f"{count} classes cannot be split into {self.tasks_wanted} tasks ({reason}): {remedy}")
        order = torch.arange(count)
        if self.shuffle_classes:
            order = torch.randperm(count, generator=generator(self.seed, "class order"))
        shares = order.view(self.tasks_wanted, -1)
        self.task_classes = [[names[c] for c in share.tolist()] for share in shares]
        return [{name: of_classes(samples, share) for name, samples in sets.items()} for share in shares]
