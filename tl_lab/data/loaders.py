"""Loaders of batches, in an order that is a function of seed, set and epoch.

A batch of data in memory is a single gather on the device, without a Python loop over samples. Data on disk are read
in the same order by a :class:`torch.utils.data.DataLoader`, each of whose workers reads whole batches.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tl_lab.data.batches import Deferred, DomainBatch, Labelled, Unlabelled
from tl_lab.data.inputs.operations import Inputs, apply, join, take
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.samples import LazyInputs, Samples, in_memory
from tl_lab.data.waiting import Waiting
from tl_lab.randomness import generator

__all__ = ["BatchOrder", "Batches", "Cutter", "Loader", "PairLoader", "Transform"]

_T = TypeVar("_T")
Transform = Callable[[Any, torch.Generator], Any]
"""Transformation of a batch of inputs on the device; all random numbers come from the given generator."""


class Batches(Protocol):
    """Loader of training batches; each pass over it is an epoch."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order of the next pass."""


@dataclass
class BatchOrder:
    """Assignment of samples to the batches of an epoch.

    For training, successive permutations of the samples are cut into full batches. For evaluation, every sample occurs
    once, in order. With several processes, each process gets a part of every batch.

    Args:
        count: number of samples, at least 1.
        batch_size: samples per batch, over all processes.
        shuffle: whether to draw a new permutation for each pass (training) or to keep the order (evaluation).
        seed: the run's seed.
        name: name of the set; sets of different names are shuffled independently.
        num_batches: batches per epoch; None for one pass that omits the last, incomplete batch (training).
        rank: number of this process.
        world_size: number of processes.
        lengths: length of each sample, ``(count,)``, to group samples of similar lengths into training batches: each
            block of ``WINDOW`` batches of the permutation is sorted by length, and the batches are shuffled. None for
            no sorting.
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
        """Number of samples in a training batch.

        A set smaller than a batch is repeated if ``num_batches`` is given; otherwise the batch has all its samples.
        """
        return self.batch_size if self.num_batches is not None else min(self.batch_size, self.count)

    def __len__(self) -> int:
        if self.num_batches is not None:
            return self.num_batches
        if self.shuffle:
            return max(1, self.count // self.batch_size)
        # every process needs at least one sample of each batch
        return max(1, min(-(-self.count // self.batch_size), self.count // self.world_size))

    def epoch(self, epoch: int, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the positions of the samples in each batch of an epoch for this process, ``(<= batch_size,)``."""
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
    """Iterable over the batches of one set; each pass is an epoch.

    Args:
        samples: samples to load.
        order: assignment of samples to batches.
        device: device of the batches; inputs in memory should be on it already.
        transform: applied to the inputs of each batch, on the device.
        spec: determines how data on disk are decoded; needed for lazy inputs only.
        workers: number of processes that read data on disk.
        augments: whether the transform is expensive, so that workers apply it if there is no GPU.
        waiting: records the time spent waiting for batches; None to record nothing.
        at: cuts the batches of an earlier loader; it is kept if it would cut the same ones.

    Attributes:
        defers: yield :class:`~tl_lab.data.batches.Deferred` batches if :attr:`may_defer`; it can change at any time.
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
        at: "Cutter | None" = None,
    ) -> None:
        self.samples, self.order, self.device, self.transform = (
            samples,
            order,
            torch.device(device),
            transform,
        )
        self.spec, self.workers, self.augments, self.waiting = spec, workers, augments, waiting
        self.epoch = 0
        self.at = at if at is not None and at.cuts(samples, spec) else Cutter(samples, transform, spec)
        self.defers = False
        # Lightning calls set_epoch of an attribute called sampler
        self.sampler, self.batch_sampler = self, None

    @property
    def may_defer(self) -> bool:
        """Whether cutting a batch draws no random numbers, and its shape depends on the number of samples alone."""
        return isinstance(self.samples.x, Tensor) and not self.augments

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that determines the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Labelled | Unlabelled]:
        inputs = self.samples.x
        for index, x in self._timed(self._cut(inputs)) if in_memory(inputs) else self._read(inputs):
            yield cast(Any, Deferred(index, self.at)) if x is None else self.at.labelled(index, x)

    def _timed(self, batches: Iterator[_T]) -> Iterator[_T]:
        return batches if self.waiting is None else self.waiting.timed(batches)

    def _cut(self, inputs: Inputs) -> Iterator[tuple[Tensor, Inputs | None]]:
        draw = generator(self.order.seed, "augmentation", self.order.name, self.epoch, self.order.rank)
        for index in self.order.epoch(self.epoch, self.device):
            if self.defers and self.may_defer:
                yield index, None
                continue
            x = take(inputs, index)
            yield index, x if self.transform is None else self.transform(x, draw)

    def _read(self, inputs: LazyInputs) -> Iterator[tuple[Tensor, Inputs]]:
        """Read batches from disk; workers also augment them, unless there is a GPU.

        Each batch has its own random stream, independent of the worker. Batches that are not yet augmented are
        transferred from workers as bytes, a quarter of the size of floats.
        """
        assert self.spec is not None, "lazy inputs need the spec for decoding"
        transform = None if self.transform is None else self._change
        later = self.device.type != "cpu" or not self.augments
        batches = _Batches(inputs, self.spec, None if later else transform)
        loader = DataLoader(
            batches,
            sampler=cast(Any, _Numbered(self.order, self.epoch)),
            batch_size=None,  # an item is a batch
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            # a separate generator, so that dropout draws the same numbers as with data in memory
            generator=generator(self.order.seed, "workers", self.order.name, self.epoch),
        )
        with _frozen_heap():
            iterator = iter(loader)
        for number, index, x in self._timed(iterator):
            index = index.to(self.device, non_blocking=True)
            x = apply(x, lambda tensor: tensor.to(self.device, non_blocking=True))
            yield index, transform(x, number) if transform is not None and later else x

    def _change(self, x: Inputs, number: int) -> Inputs:
        order = self.order
        assert self.transform is not None
        return self.transform(x, generator(order.seed, "augmentation", order.name, self.epoch, order.rank, number))


class Cutter:
    """Cuts batches from data in memory, without augmentation.

    Args:
        samples: the samples.
        transform: applied to the inputs of each batch.
        spec: input format of the transform.
    """

    def __init__(self, samples: Samples, transform: Transform | None, spec: InputSpec | None) -> None:
        self._samples, self._transform, self._spec = samples, transform, spec

    def cuts(self, samples: Samples, spec: InputSpec | None) -> bool:
        """Whether these are the samples that are cut, and their input format is the same."""
        own = self._samples
        return own.x is samples.x and own.y is samples.y and own.domain is samples.domain and self._spec is spec

    def __call__(self, index: Tensor) -> Labelled | Unlabelled:
        """Cut the batch of some positions, ``(B,)``."""
        x = take(cast(Inputs, self._samples.x), index)
        return self.labelled(index, x if self._transform is None else self._transform(x, torch.Generator()))

    def labelled(self, index: Tensor, x: Inputs) -> Labelled | Unlabelled:
        """Return the batch of some positions, given its inputs."""
        y, domain = self._samples.y, self._samples.domain
        where = None if domain is None else domain[index]
        return Unlabelled(x, index, where) if y is None else Labelled(x, y[index], index, where)


class PairLoader:
    """Combines a labelled source batch with an unlabelled target batch of the same size."""

    def __init__(self, source: Loader, target: Loader) -> None:
        self.source, self.target = source, target
        self.sampler, self.batch_sampler = self, None

    @property
    def defers(self) -> bool:
        """Whether both sets may yield deferred batches."""
        return self.source.defers

    @defers.setter
    def defers(self, defers: bool) -> None:
        possible = all(getattr(loader, "may_defer", False) for loader in (self.source, self.target))
        self.source.defers = self.target.defers = defers and possible

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of both sets."""
        self.source.set_epoch(epoch)
        self.target.set_epoch(epoch)

    def __len__(self) -> int:
        return min(len(self.source), len(self.target))

    def __iter__(self) -> Iterator[DomainBatch]:
        for source, target in zip(self.source, self.target, strict=False):
            yield DomainBatch(cast(Labelled, source), cast(Unlabelled, target))


class _Numbered:
    """The batches of an epoch with their numbers, created on demand.

    Args:
        order: assignment of samples to batches.
        epoch: number of the epoch.
    """

    def __init__(self, order: BatchOrder, epoch: int) -> None:
        self.order, self.epoch = order, epoch

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        return enumerate(self.order.epoch(self.epoch))

    def __len__(self) -> int:
        return len(self.order)


class _Batches(Dataset):
    """Whole batches of inputs on disk, indexed by number of the batch and positions of its samples.

    Args:
        inputs: inputs on disk.
        spec: determines how they are decoded.
        change: transforms a batch, given its number; None for no transformation.
    """

    def __init__(self, inputs: LazyInputs, spec: InputSpec, change: Callable[[Inputs, int], Inputs] | None) -> None:
        self.inputs, self.spec, self.change = inputs, spec, change

    def __getitem__(self, batch: tuple[int, Tensor]) -> tuple[int, Tensor, Inputs]:
        number, index = batch
        x = self._joined(index.tolist())
        return number, index, x if self.change is None else self.change(x, number)

    def _joined(self, places: list[int]) -> Inputs:
        """Read samples into one tensor; named tensors are padded to the longest sample."""
        if hasattr(self.inputs, "read_batch"):
            return cast(Inputs, self.inputs.read_batch(places, self.spec))
        first = self.inputs.read(places[0], self.spec)
        if not isinstance(first, Tensor):
            others = [self.inputs.read(i, self.spec) for i in places[1:]]
            return join([apply(one, lambda tensor: tensor[None]) for one in (first, *others)], self.spec.padding)
        x = first.new_empty(len(places), *first.shape)
        if get_worker_info() is not None:
            x.share_memory_()  # the transfer needs shared memory anyway; allocating it here avoids a copy
        x[0] = first
        for k, i in enumerate(places[1:], 1):
            x[k] = cast(Tensor, self.inputs.read(i, self.spec))
        return x


@contextlib.contextmanager
def _frozen_heap() -> Iterator[None]:
    """Keep the garbage collectors of forked processes from traversing all objects, which would copy their memory."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
