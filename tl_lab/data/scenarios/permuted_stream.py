"""A task stream that permutes the pixels of one set."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.inner import name_of, read_inner
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.errors import UserError
from tl_lab.options import Natural, Several
from tl_lab.randomness import generator

__all__ = ["PermutedStream"]

_MOST_TRIES = 1000


class PermutedStream(TaskStream):
    """Permute the values of the inputs, with a different permutation for each task.

    A task's permutation is the same for training and test, and for all channels of an image. Permutations are
    distinct, are determined by the seed, and are applied to the network's input (after resizing).

    Args:
        of: the set, or the pair of domains; both domains of a pair are permuted in the same way.
        num_tasks: number of tasks T.
        first_unchanged: whether the first task uses the set without permutation.
        pad: width of a border of zeros, in pixels, added to images before the permutation.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.stream.TaskStream`.

    References:
        Goodfellow et al., An Empirical Investigation of Catastrophic Forgetting in Gradient-Based Neural Networks,
        ICLR 2014. Kirkpatrick et al., Overcoming Catastrophic Forgetting in Neural Networks, PNAS 2017.
    """

    scrambles = True
    labels_new_samples = False

    def __init__(
        self,
        *,
        of: DataModule,
        num_tasks: Several = 10,
        first_unchanged: bool = False,
        pad: Natural = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if num_tasks < 2:
            raise UserError(f"data.num_tasks must be at least 2, not {num_tasks}")
        if pad < 0:
            raise UserError(f"data.pad must be at least 0, not {pad}")
        self.template, self.tasks_wanted, self.first_unchanged, self.pad = of, num_tasks, first_unchanged, pad
        self._orders: dict[tuple[int, int], Tensor] = {}

    def read_tasks(self) -> list[dict[str, Samples]]:
        """Read the set, which all tasks share."""
        assert self.template is not None
        read = self.template.limited(read_inner(self.template, name_of(self.template), "data.of"))
        sets = {name: self._padded(samples) for name, samples in read.items()}
        self.task_classes = [list(self.template.class_names) for _ in range(self.tasks_wanted)]
        return [dict(sets) for _ in range(self.tasks_wanted)]

    def _padded(self, samples: Samples) -> Samples:
        if not self.pad:
            return samples
        if not isinstance(samples.x, Tensor) or samples.x.dim() != 4:
            raise UserError(f"data.pad requires images in memory, which {type(self.template).__name__} does not have")
        return replace(samples, x=F.pad(samples.x, [self.pad] * 4))

    def order_of(self, task: int, length: int) -> Tensor:
        """Return a task's permutation of ``length`` positions, ``(length,)``: output i is input ``order[i]``."""
        key = (task, length)
        if key not in self._orders:
            earlier = [self.order_of(k, length) for k in range(task)]
            for tries in range(_MOST_TRIES):  # short inputs have few permutations: draw until one is new
                draw = generator(self.seed, "permutation", length, task, tries)
                order = torch.randperm(length, generator=draw)
                if task == 0 and self.first_unchanged:
                    order = torch.arange(length)
                if not any(torch.equal(order, other) for other in earlier):
                    break
            else:
                raise UserError(f"inputs of {length} values have too few permutations for {task + 1} tasks")
            self._orders[key] = order
        return self._orders[key]

    def change(self, task: int) -> Callable[[Tensor], Tensor]:
        """Return the permutation of inputs ``(B, D)`` or, equal for all channels, ``(B, C, H, W)`` for a task."""

        orders: dict[tuple[int, torch.device], Tensor] = {}  # copying to a GPU in each batch would synchronise with it

        def permute(x: Tensor) -> Tensor:
            flat = x if x.dim() == 2 else x.flatten(2)
            key = (flat.shape[-1], x.device)
            if key not in orders:
                orders[key] = self.order_of(task, flat.shape[-1]).to(x.device)
            return flat.index_select(-1, orders[key]).view(x.shape)

        return permute

    def describe_order(self) -> str:
        """Return the number of permutations and their seed as text."""
        unchanged = ", the first unchanged" if self.first_unchanged else ""
        return f"{self.tasks_wanted} permutations of seed {self.seed}{unchanged}"
