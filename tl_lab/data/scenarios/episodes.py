"""Draw episodes as index tensors, which depend only on seed, set, epoch and number of the episode."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor

from tl_lab.data.batches import Episode, Labelled
from tl_lab.data.inputs.operations import Inputs, apply
from tl_lab.data.loaders import BatchOrder, Loader
from tl_lab.data.names import SetName
from tl_lab.data.waiting import Waiting
from tl_lab.errors import UserError, nearest
from tl_lab.options import Count, Several
from tl_lab.randomness import generator
from tl_lab.texts import counted

__all__ = ["ClassIndex", "EpisodeLoader", "EpisodeSize", "EpisodeSource", "draw_episodes"]

_BLOCK = 50  # number of episodes drawn at once; constant, so that a longer test starts with those of a shorter one


class EpisodeOptions(TypedDict):
    """Options for the size of an episode."""

    way: Several
    shot: Count
    queries: Count


@dataclass(frozen=True)
class EpisodeSize:
    """The size of an episode.

    Args:
        way: number of classes N, at least 2.
        shot: number of labelled support samples of each class, K, at least 1.
        queries: number of query samples of each class, Q, at least 1.
    """

    way: int
    shot: int
    queries: int

    @classmethod
    def from_node(cls, name: str, node: Mapping[str, int]) -> "EpisodeSize":
        """Read ``{way, shot, queries}`` from the configuration.

        Args:
            name: name of the option, for messages.
            node: its value in the configuration.

        Raises:
            UserError: a key is missing, unknown or too small.
        """
        least = {"way": 2, "shot": 1, "queries": 1}
        for key in node:
            if key not in least:
                raise UserError(f"{name} has no key {key!r}; {nearest(key, least)}")
        for key, smallest in least.items():
            if type(node.get(key)) is not int or node[key] < smallest:
                raise UserError(f"{name}.{key} must be a whole number of at least {smallest}, not {node.get(key)}")
        return cls(**node)

    @property
    def per_class(self) -> int:
        """Number of samples of each class, K + Q."""
        return self.shot + self.queries

    @property
    def images(self) -> int:
        """Number of samples in an episode, N (K + Q)."""
        return self.way * self.per_class

    def __str__(self) -> str:
        return f"{self.way}-way {self.shot}-shot, {counted(self.queries, 'query', 'queries')} a class"


class ClassIndex:
    """Positions of the samples of each class in a set.

    Args:
        y: classes, ``(N,)``, int64, in 0 to C - 1.
        num_classes: number of classes C.

    Attributes:
        counts: number of samples of each class, ``(C,)``.
        positions: positions in the set, sorted by class, ``(N,)``; those of class c begin at ``starts[c]``.
    """

    def __init__(self, y: Tensor, num_classes: int) -> None:
        y = y.cpu()
        self.counts = torch.bincount(y, minlength=num_classes)
        self.positions = y.argsort(stable=True)
        self.starts = self.counts.cumsum(0) - self.counts

    def check(self, name: str, size: EpisodeSize) -> None:
        """Check that a set is large enough for its episodes.

        Args:
            name: name of the set.
            size: size of the episodes.

        Raises:
            UserError: there are fewer than N classes, or a class has fewer than K + Q samples.
        """
        if len(self.counts) < size.way:
            raise UserError(
                f"the set {name!r} has {counted(len(self.counts), 'class', 'classes')}, "
                f"{size.way - len(self.counts)} too few for {size.way}-way episodes: lower data.{_part(name)}.way, "
                f"or give the set more classes"
            )
        short = self.counts < size.per_class
        if short.any():
            raise UserError(
                f"an episode needs {size.shot} + {size.queries} = {size.per_class} different samples of a class, but "
                f"{int(short.sum())} of the {len(self.counts)} classes of the set {name!r} have fewer (at least "
                f"{int(self.counts.min())}): lower data.{_part(name)}.shot or data.{_part(name)}.queries"
            )


def draw_episodes(classes: ClassIndex, size: EpisodeSize, seed: int, name: str, epoch: int, block: int) -> Tensor:
    """Draw a block of episodes, each with N classes and K + Q samples of each class, without repetition.

    Args:
        classes: classes of the set, large enough (see :meth:`ClassIndex.check`).
        size: size of the episodes.
        seed: the run's seed.
        name: name of the set.
        epoch: number of the training epoch; 0 for validation and test.
        block: number of the block of 50 episodes, counted from 0.

    Returns:
        Positions in the set, ``(50, N, K + Q)``, int64, on the CPU.
    """
    draw = generator(seed, "episodes", name, epoch, block)
    # the indices of the N largest of C random numbers are a random choice of N classes
    chosen = torch.rand(_BLOCK, len(classes.counts), generator=draw).topk(size.way, dim=1).indices
    counts = classes.counts[chosen]  # (50, N)
    largest = int(classes.counts.max())
    keys = torch.rand(_BLOCK, size.way, largest, generator=draw)
    if int(classes.counts.min()) < largest:
        keys.masked_fill_(torch.arange(largest) >= counts[:, :, None], -1)
    members = keys.topk(size.per_class, dim=2).indices
    return classes.positions[classes.starts[chosen][:, :, None] + members]


class EpisodeSource(Protocol):
    """Data module from whose sets episodes are drawn."""

    device: torch.device
    waiting: Waiting

    def size_of(self, name: str) -> EpisodeSize:
        """Return the size of a set's episodes."""

    def class_index(self, name: str) -> ClassIndex:
        """Return the positions of the samples of each class of a set."""

    def inputs_at(self, name: str, index: Tensor, draw: torch.Generator | None = None) -> Inputs:
        """Return inputs of a set, ``(B, ...)``, converted to the backbone's input format."""


class EpisodeLoader:
    """Loader of batches of episodes of one set.

    Args:
        data: the data module of the set.
        name: name of the set.
        order: assignment of episodes to steps and processes.
        training: whether to augment the inputs, and to draw new episodes in each epoch.
        target: loader of as many samples of another domain as each step has; None for none.
    """

    def __init__(
        self, data: EpisodeSource, name: str, order: BatchOrder, training: bool, target: Loader | None = None
    ) -> None:
        self.data, self.name, self.order, self.training, self.target = data, name, order, training, target
        self.size = data.size_of(name)
        self.classes = data.class_index(name)
        self.labels = {
            k: torch.arange(self.size.way, device=data.device).repeat_interleave(k)
            for k in (self.size.shot, self.size.queries)
        }
        self.epoch = 0
        self.sampler, self.batch_sampler = self, None  # Lightning calls set_epoch of an attribute called sampler

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass; the episodes of an evaluation are the same in every epoch."""
        self.epoch = epoch if self.training else 0  # Lightning passes the number of trained epochs to evaluations
        if self.target is not None:
            self.target.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Episode]:
        targets: Iterator[Any] = repeat(None) if self.target is None else iter(self.target)
        episodes = self._episodes()
        for episode, target in zip(
            self.data.waiting.timed(episodes) if self.training else episodes, targets, strict=False
        ):
            yield episode._replace(target=target)

    def _episodes(self) -> Iterator[Episode]:
        draw = generator(self.order.seed, "augmentation", self.name, self.epoch, self.order.rank)
        for number, index in zip(self.order.epoch(0), self.indices(), strict=False):
            yield self._cut(index, draw)._replace(number=number)

    def indices(self) -> Iterator[Tensor]:
        """Yield the positions of the samples of each step's episodes, ``(E, N, K + Q)``, on the device."""
        blocks: dict[int, Tensor] = {}
        for numbers in self.order.epoch(0):
            needed = numbers // _BLOCK
            for block in needed.unique().tolist():
                if block not in blocks:
                    drawn = draw_episodes(self.classes, self.size, self.order.seed, self.name, self.epoch, block)
                    blocks = {old: kept for old, kept in blocks.items() if old >= int(needed[0])}
                    blocks[block] = drawn
            if len(blocks) == 1:
                index = blocks[int(needed[0])][numbers % _BLOCK]
            else:
                parts = [blocks[b][n] for b, n in zip(needed.tolist(), (numbers % _BLOCK).tolist(), strict=True)]
                index = torch.stack(parts)
            yield index.to(self.data.device, non_blocking=True)  # the copy continues in the background

    def _cut(self, index: Tensor, draw: torch.Generator) -> Episode:
        parts = index[:, :, : self.size.shot].flatten(1), index[:, :, self.size.shot :].flatten(1)
        whole = torch.cat(parts, 1)  # (E, N*K + N*Q)
        x = self.data.inputs_at(self.name, whole.flatten(), draw if self.training else None)
        x, shots = apply(x, lambda tensor: tensor.unflatten(0, whole.shape)), parts[0].shape[1]
        halves = apply(x, lambda tensor: tensor[:, :shots]), apply(x, lambda tensor: tensor[:, shots:])
        support, query = (
            Labelled(inputs, self.labels[k].expand(len(index), -1), part)
            for inputs, k, part in zip(halves, (self.size.shot, self.size.queries), parts, strict=True)
        )
        return Episode(support, query, self.size.way)


def _part(name: str) -> str:
    return "train" if SetName.parse(name).part == "train" else "test"
