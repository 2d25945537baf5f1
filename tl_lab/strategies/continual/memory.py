"""Base class of replay, DER++ and A-GEM: a memory of earlier samples, its policies and its draws."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.batches import DomainBatch, Labelled
from tl_lab.errors import UserError, nearest
from tl_lab.functional import reservoir_slots
from tl_lab.options import Count
from tl_lab.randomness import generator
from tl_lab.strategies.continual.base import ContinualStrategy
from tl_lab.texts import counted

__all__ = ["Memory", "MemoryStrategy"]

_POLICIES = {"reservoir": {"size": 1000}, "class_balanced": {"per_class": 100}}  # with their default options


class MemoryOptions(TypedDict, total=False):
    """Options of the memory; the valid policies depend on the strategy."""

    policy: str
    size: Count
    per_class: Count


class Memory(nn.Module):
    """Positions of samples in the stream's training sets, in a fixed number of slots; the whole state is in buffers.

    Args:
        size: number of slots, >= 1.
        width: largest number of logits stored with each sample, padded with NaN; 0 for none.
    """

    task: Tensor
    index: Tensor
    logits: Tensor
    seen: Tensor

    def __init__(self, size: int, width: int = 0) -> None:
        super().__init__()
        self.register_buffer("task", torch.full((size,), -1))  # -1: empty slot
        self.register_buffer("index", torch.full((size,), -1))
        self.register_buffer("logits", torch.full((size, width), torch.nan))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))  # number of samples passed to add()

    def __len__(self) -> int:
        return len(self.task)

    def filled(self, before: int | None = None) -> Tensor:
        """Return the indices of occupied slots in order; with ``before`` only those of tasks before that one."""
        held = self.task >= 0
        return (held if before is None else held & (self.task < before)).nonzero()[:, 0]

    def add(self, task: int, index: Tensor, draw: torch.Generator, logits: Tensor | None = None) -> None:
        """Add samples of a batch by algorithm R (see :func:`~tl_lab.functional.reservoir_slots`).

        Args:
            task: their task, counted from 0.
            index: their positions in its training set, ``(B,)``.
            draw: random generator of the decisions.
            logits: stored with them, ``(B, <= width)``.
        """
        slots = reservoir_slots(int(self.seen), len(index), len(self), draw).to(index.device)
        stay = slots >= 0
        self.task[slots[stay]] = task
        self.index[slots[stay]] = index[stay]
        if logits is not None:
            lacking = self.logits.shape[1] - logits.shape[1]
            self.logits[slots[stay]] = F.pad(logits[stay].to(self.logits), (0, lacking), value=torch.nan)
        self.seen += len(index)

    def add_of_each_class(self, task: int, y: Tensor, per_class: int, draw: torch.Generator) -> None:
        """Store samples of each class of a task in free slots, drawn without replacement.

        Args:
            task: counted from 0.
            y: classes of its training set, or other groups that are sampled equally, ``(N,)``.
            per_class: samples of each class; smaller classes are stored whole.
            draw: random generator of the draw.
        """
        of_class = [(y.cpu() == c).nonzero()[:, 0] for c in y.unique().tolist()]
        index = torch.cat([here[torch.randperm(len(here), generator=draw)[:per_class]] for here in of_class])
        free = (self.task < 0).nonzero()[: len(index), 0]
        self.task[free] = task
        self.index[free] = index.to(free.device)

    def extra_repr(self) -> str:
        return f"{len(self)}, filled={len(self.filled())}"


class MemoryStrategy(ContinualStrategy):
    """Store samples of the stream, and use some of them in each update.

    ``memory.policy`` selects the samples. ``reservoir``: a uniform sample of size ``memory.size`` from all samples seen
    in training so far; a sample is seen once per epoch and may occupy several slots. ``class_balanced``:
    ``memory.per_class`` samples of each class of each task, drawn at the end of the task.

    The memory stores positions, not data: samples are read again and augmented anew. They form a separate batch, which
    batch normalisation normalises separately. All processes hold the same memory, and each trains on its share of a
    draw.

    Args:
        memory: ``policy``, ``size`` and ``per_class``.
        replay_batch_size: samples drawn per batch over all processes, without replacement; None for the batch size of
            the data. The whole memory if it holds fewer.
        options: keyword arguments of :class:`~tl_lab.strategies.continual.base.ContinualStrategy`.

    Raises:
        UserError: a key or policy that does not exist, or a number below 1.
    """

    policies: ClassVar[tuple[str, ...]] = tuple(_POLICIES)
    """Policies that suit the method, the default first."""
    keeps_logits: ClassVar[bool] = False
    """Whether samples are stored with the logits that they had at that time."""

    def __init__(
        self,
        *,
        memory: Annotated[Mapping[str, Any], MemoryOptions] | None = None,
        replay_batch_size: Count | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if replay_batch_size is not None and replay_batch_size < 1:
            raise UserError(f"strategy.replay_batch_size must be null or at least 1, not {replay_batch_size}")
        chosen = _checked(memory or {}, self.policies)
        self.policy, self.per_class, self.replay_batch_size = chosen["policy"], chosen["per_class"], replay_batch_size
        size = chosen["size"] if self.policy == "reservoir" else self.per_class * sum(self.outputs.sizes)
        blocks = self.outputs.blocks
        width = max(blocks) if self.outputs.scenario == "task" else sum(blocks)
        self.memory = Memory(size, width if self.keeps_logits else 0)
        self._batch: Labelled | None = None  # the current one, its number in the epoch, and its logits
        self._batch_idx = 0
        self._logits: Tensor | None = None

    def facts(self) -> dict[str, str]:
        """Report the size of the memory."""
        size = f"{counted(len(self.memory), 'sample')}"
        text = size if self.policy == "reservoir" else f"{size}, {self.per_class:,} of each class of each task"
        return {**super().facts(), "memory": f"{text} ({self.policy})"}

    def prepare(self, data: DataModule) -> None:
        """Check that every batch can be divided evenly among processes, which exchange their samples."""
        super().prepare(data)
        processes = self.trainer.world_size
        if self.replay_batch_size is not None and self.replay_batch_size % processes:
            raise UserError(
                f"strategy.replay_batch_size={self.replay_batch_size} cannot be shared among {processes} processes"
            )
        for k in range(self.outputs.num_tasks) if self.policy == "reservoir" else ():
            if (size := self.stream.train_loader(self.stream.train_name(k)).order.size) % processes:
                raise UserError(
                    f"{self.stream.task_name(k)} has batches of {size}, no multiple of {processes} processes"
                )

    # ------------------------------------------------------------------ filling

    def train_on(self, batch: Labelled | DomainBatch, batch_idx: int, again: bool = False) -> None:
        """Update on a batch, then add its samples to the memory."""
        self._batch = batch.source if isinstance(batch, DomainBatch) else batch
        self._batch_idx, self._logits = batch_idx, None
        super().train_on(batch, batch_idx, again)
        if self.policy == "reservoir":
            logits = None if self._logits is None else self._whole(self._logits)
            self.memory.add(self.task, self._whole(self._batch.index), self._draw("reservoir"), logits)

    def end_task(self, task: int) -> None:
        """Store samples of each class."""
        super().end_task(task)
        if self.policy == "class_balanced":
            y = self.stream.sets[self.stream.train_name(task)].y
            assert y is not None
            strata = self.problem.strata(y)
            groups = torch.zeros(len(y), dtype=torch.long) if strata is None else strata
            self.memory.add_of_each_class(task, groups, self.per_class, generator(self.seed, "memory", task))

    def _whole(self, share: Tensor) -> Tensor:
        """Gather a batch from all processes, ``(B / W, ...)`` -> ``(B, ...)``, in the order of a single process."""
        if self.trainer.world_size == 1:
            return share
        return self.all_gather(share).transpose(0, 1).flatten(0, 1)  # type: ignore[union-attr]

    # ------------------------------------------------------------------ drawing

    def _draw(self, *names: str | int) -> torch.Generator:
        # a function of the batch's position in the run, so that a resumed run needs no saved state
        return generator(self.seed, "memory", *names, self.current_epoch, self._batch_idx)

    def number_recalled(self, before: int | None = None) -> int:
        """Return the number of samples drawn for this batch over all processes, the same for each process."""
        wanted = min(self.replay_batch_size or self.stream.batch_size, len(self.memory.filled(before)))
        return wanted - wanted % self.trainer.world_size

    def recall(self, name: str, before: int | None = None) -> Tensor:
        """Draw slots of the memory for this batch, without replacement.

        Args:
            name: name of the draw; draws of different names are independent.
            before: draw from tasks before this one only; None for all.

        Returns:
            This process's share, ``(number_recalled / processes,)``; empty if there is nothing to draw from.
        """
        slots = self.memory.filled(before)
        drawn = torch.randperm(len(slots), generator=self._draw(name))[: self.number_recalled(before)]
        return slots[drawn[self.trainer.global_rank :: self.trainer.world_size].to(slots.device)]

    def revisit(self, slots: Tensor, name: str) -> tuple[Tensor, Labelled]:
        """Read samples, and compute their features.

        Args:
            slots: of the samples, ``(M,)``, at least one.
            name: name of the draw, which also seeds the augmentation.

        Returns:
            Their features, ``(M, D)``, and the samples, with their tasks.
        """
        draw = self._draw("augmentation", name, self.trainer.global_rank)
        batch = self.stream.cut(self.memory.task[slots], self.memory.index[slots], draw)
        x, _ = self._inputs(batch._replace(x=self.trainer.precision_plugin.convert_input(batch.x)), None)
        self.network.use("source")
        return self.features(x), batch

    def recalled_loss(self, slots: Tensor, name: str) -> Tensor:
        """Compute the loss of samples in the memory, without the current batch's share; a scalar."""
        return self.criterion(*self.classify(*self.revisit(slots, name)))


def _checked(given: Mapping[str, Any], policies: tuple[str, ...]) -> dict[str, Any]:
    """Fill in defaults, and refuse unknown keys."""
    chosen: dict[str, Any] = {"policy": policies[0]}
    for policy in policies:
        chosen |= _POLICIES[policy]
    for name in given:
        if name not in chosen:
            raise UserError(f"strategy.memory has no key {name!r}; {nearest(name, chosen)}")
    chosen |= given
    if chosen["policy"] not in policies:
        raise UserError(
            f"strategy.memory.policy={chosen['policy']} does not exist here; {nearest(str(chosen['policy']), policies)}"
        )
    for name in chosen.keys() - {"policy"}:
        if not isinstance(chosen[name], int) or chosen[name] < 1:
            raise UserError(f"strategy.memory.{name} must be a whole number of at least 1, not {chosen[name]!r}")
    return {"size": None, "per_class": None, **chosen}
