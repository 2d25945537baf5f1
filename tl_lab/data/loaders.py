"""Batches cut by index, in an order that is a function of (seed, set, epoch).

Data in memory never pass through Python sample by sample: a batch is one gather on the device. Data on disk
take the same order through a :class:`torch.utils.data.DataLoader` with workers, each of which reads whole batches.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tl_lab.data.batches import DomainBatch, Labelled, Unlabelled
from tl_lab.data.inputs.operations import Inputs, apply, join, take
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.samples import LazyInputs, Samples, in_memory
from tl_lab.data.waiting import Waiting
from tl_lab.randomness import generator

__all__ = ["BatchOrder", "Batches", "Loader", "PairLoader", "Transform"]

Transform = Callable[[Any, torch.Generator], Any]
"""What happens to a batch of inputs on the device; random parts draw from the given generator."""


class Batches(Protocol):
    """What training goes through in an epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass follows."""


@dataclass
class BatchOrder:
    """Which samples form which batch of an epoch.

    Training: whole permutations one after the other, cut into full batches. Evaluation: everything once, in
    order. With several processes each batch is shared out, so that together they see the batch that a single
    process would see.

    Args:
        count: number of samples, at least 1.
        batch_size: samples in a batch, over all processes.
        shuffle: draw a new permutation for each pass (training), or keep the order (evaluation).
        seed: the run's seed.
        name: of the set; sets of different names are shuffled independently.
        num_batches: batches in an epoch; None for one pass without the incomplete rest (training).
        rank: number of this process.
        world_size: number of processes.
        lengths: of each sample, ``(count,)``; training batches hold samples of similar lengths then: each run of
            ``WINDOW`` batches of the permutation is sorted by length, and the batches are shuffled. None: as they come.
    """

    WINDOW: ClassVar[int] = 50

    count: int
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    name: str = ""
    num_batches: int | None = None
    rank: int = 0
    world_size: int = 1
    lengths: Tensor | None = None

    @property
    def size(self) -> int:
        """Samples in a training batch: a set smaller than a batch is repeated if the number of batches is given."""
        return self.batch_size if self.num_batches is not None else min(self.batch_size, self.count)

    def __len__(self) -> int:
        if self.num_batches is not None:
            return self.num_batches
        if self.shuffle:
            return max(1, self.count // self.batch_size)
        # no process may be left without a sample in a batch that another one has
        return max(1, min(-(-self.count // self.batch_size), self.count // self.world_size))

    def epoch(self, epoch: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the index tensors, ``(<= batch_size,)``, of one epoch, for this process."""
        if not self.shuffle:
            index = torch.arange(self.count, device=device)[self.rank :: self.world_size]
            yield from index.tensor_split(len(self))
            return
        size = self.size
        index = self._permutations(epoch, len(self) * size)
        index = (index if self.lengths is None else self._bucketed(index, self.lengths, epoch)).to(device)
        for start in range(0, len(self) * size, size):
            yield index[start + self.rank : start + size : self.world_size]

    def _permutations(self, epoch: int, length: int) -> Tensor:
        draw = generator(self.seed, "order", self.name, epoch)
        passes = -(-length // self.count)
        return torch.cat([torch.randperm(self.count, generator=draw) for _ in range(passes)])[:length]

    def _bucketed(self, index: Tensor, lengths: Tensor, epoch: int) -> Tensor:
        parts = index.split(self.WINDOW * self.size)
        batches = torch.cat([part[lengths[part].argsort(stable=True)] for part in parts]).view(-1, self.size)
        draw = generator(self.seed, "order of batches", self.name, epoch)
        return batches[torch.randperm(len(batches), generator=draw)].flatten()


class Loader:
    """Iterable over the batches of one set; each pass over it is an epoch.

    Args:
        samples: what is served.
        order: which samples form which batch.
        device: where batches are wanted; inputs in memory should live there already.
        transform: applied to the inputs of each batch, on the device.
        spec: how images on disk are decoded; needed for lazy inputs only.
        workers: processes that read what is on disk.
        augments: the transform is worth a worker's time: where there is no GPU, workers carry it out.
        waiting: notes how long what is on disk was waited for; None where nobody asks.
    """

    def __init__(
        self,
        samples: Samples,
        order: BatchOrder,
        device: torch.device | str = "cpu",
        transform: Transform | None = None,
        spec: InputSpec | None = None,
        workers: int = 0,
        augments: bool = False,
        waiting: Waiting | None = None,
    ) -> None:
        self.samples, self.order, self.device, self.transform = (
            samples,
            order,
            torch.device(device),
            transform,
        )
        self.spec, self.workers, self.augments, self.waiting = spec, workers, augments, waiting
        self.epoch = 0
        # Lightning sets the epoch of whatever is called a sampler
        self.sampler, self.batch_sampler = self, None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Labelled | Unlabelled]:
        inputs = self.samples.x
        for index, x in self._cut(inputs) if in_memory(inputs) else self._read(inputs):
            y, domain = self.samples.y, self.samples.domain
            where = None if domain is None else domain[index]
            yield Unlabelled(x, index, where) if y is None else Labelled(x, y[index], index, where)

    def _cut(self, inputs: Inputs) -> Iterator[tuple[Tensor, Inputs]]:
        draw = generator(self.order.seed, "augmentation", self.order.name, self.epoch, self.order.rank)
        for index in self.order.epoch(self.epoch, self.device):
            x = take(inputs, index)
            yield index, x if self.transform is None else self.transform(x, draw)

    def _read(self, inputs: LazyInputs) -> Iterator[tuple[Tensor, Inputs]]:
        """Read batches from disk; workers augment them, too, unless a GPU does.

        The random parts of each batch come from a stream of its own, whoever makes it. What is not augmented comes from
        the workers as bytes, of which there are a quarter as many.
        """
        assert self.spec is not None, "lazy inputs need the spec that they are decoded for"
        transform = None if self.transform is None else self._change
        later = self.device.type != "cpu" or not self.augments
        batches = _Batches(inputs, self.spec, None if later else transform)
        loader = DataLoader(
            batches,
            sampler=cast(Any, _Numbered(self.order, self.epoch)),
            batch_size=None,  # an item is a batch
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        with _frozen_heap():
            iterator = iter(loader)
        for number, index, x in iterator if self.waiting is None else self.waiting.timed(iterator):
            index = index.to(self.device, non_blocking=True)
            x = apply(x, lambda tensor: tensor.to(self.device, non_blocking=True))
            yield index, transform(x, number) if transform is not None and later else x

    def _change(self, x: Inputs, number: int) -> Inputs:
        order = self.order
        assert self.transform is not None
        return self.transform(x, generator(order.seed, "augmentation", order.name, self.epoch, order.rank, number))


class PairLoader:
    """Serves a labelled source batch and an equally large unlabelled target batch together."""

    def __init__(self, source: Loader, target: Loader) -> None:
        self.source, self.target = source, target
        self.sampler, self.batch_sampler = self, None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of both sets."""
        self.source.set_epoch(epoch)
        self.target.set_epoch(epoch)

    def __len__(self) -> int:
        return min(len(self.source), len(self.target))

    def __iter__(self) -> Iterator[DomainBatch]:
        for source, target in zip(self.source, self.target, strict=False):
            yield DomainBatch(cast(Labelled, source), cast(Unlabelled, target))


class _Numbered:
    """The batches of an epoch with their numbers, made one by one.

    Args:
        order: of the batches.
        epoch: of the run.
    """

    def __init__(self, order: BatchOrder, epoch: int) -> None:
        self.order, self.epoch = order, epoch

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        return enumerate(self.order.epoch(self.epoch))

    def __len__(self) -> int:
        return len(self.order)


class _Batches(Dataset):
    """Whole batches of inputs on disk, by number and positions.

    Args:
        inputs: on disk.
        spec: what they are decoded for.
        change: what is done to each batch, by its number; None for nothing.
    """

    def __init__(self, inputs: LazyInputs, spec: InputSpec, change: Callable[[Inputs, int], Inputs] | None) -> None:
        self.inputs, self.spec, self.change = inputs, spec, change

    def __getitem__(self, batch: tuple[int, Tensor]) -> tuple[int, Tensor, Inputs]:
        number, index = batch
        x = self._joined(index.tolist())
        return number, index, x if self.change is None else self.change(x, number)

    def _joined(self, places: list[int]) -> Inputs:
        """Read samples into one tensor, of which each has its part; named tensors are padded to the longest."""
        first = self.inputs.read(places[0], self.spec)
        if not isinstance(first, Tensor):
            others = [self.inputs.read(i, self.spec) for i in places[1:]]
            return join([apply(one, lambda tensor: tensor[None]) for one in (first, *others)], self.spec.padding)
        x = first.new_empty(len(places), *first.shape)
        if get_worker_info() is not None:
            x.share_memory_()  # where it must go in any case, and where nothing of it is left behind
        x[0] = first
        for k, i in enumerate(places[1:], 1):
            x[k] = cast(Tensor, self.inputs.read(i, self.spec))
        return x


@contextlib.contextmanager
def _frozen_heap() -> Iterator[None]:
    """Keep the collectors of processes that are forked here from looking at, and so copying, all that there is."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
