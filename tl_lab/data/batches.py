"""Types of batches in training and evaluation steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tl_lab.data.inputs.operations import Inputs, flat_first, join

__all__ = ["Deferred", "DomainBatch", "Episode", "Labelled", "Unlabelled"]


class Labelled(NamedTuple):
    """Samples with their labels.

    Attributes:
        x: inputs: ``(B, C, H, W)`` for images, or named tensors.
        y: class of each sample, ``(B,)``, int64.
        index: position of each sample in its set, ``(B,)``, int64, for sample weights and replay.
        domain: number of each sample's domain, ``(B,)``, if there are several.
        task: number of each sample's task, ``(B,)``, if there are several.
    """

    x: Inputs
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used
    domain: Tensor | None = None
    task: Tensor | None = None


class Unlabelled(NamedTuple):
    """Samples whose labels, if any exist, are withheld; the fields are those of :class:`Labelled`."""

    x: Inputs
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used
    domain: Tensor | None = None


class Deferred(NamedTuple):
    """A batch of data in memory that is cut when it is needed, which can be a part of an update that is replayed.

    Attributes:
        index: position of each sample in its set, ``(B,)``, int64.
        at: function that returns the batch for positions; equal functions return equal batches.
    """

    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which is not used
    at: Callable[[Tensor], Any]

    @staticmethod
    def cut(batch: Any) -> Any:
        """Return a batch, which is cut now if it was deferred."""
        return batch.at(batch.index) if isinstance(batch, Deferred) else batch


class DomainBatch(NamedTuple):
    """A labelled source batch and an unlabelled target batch of the same size."""

    source: Labelled
    target: Unlabelled


class Episode(NamedTuple):
    """A batch of E episodes of N classes, each with K labelled support samples and Q query samples per class.

    Within an episode, samples are sorted by class; classes are numbered from 0 in the order of the draw.

    Attributes:
        support: ``x`` is ``(E, N*K, ...)``; ``y``, classes 0 to N - 1, and ``index``, positions in the set, are
            ``(E, N*K)``.
        query: the same with ``N*Q`` samples, disjoint from the support.
        way: number of classes N.
        target: for domain adaptation, as many samples of another domain as there are in all episodes,
            ``(E*N*(K+Q), ...)``.
        number: number of each episode in its set, ``(E,)``.
    """

    support: Labelled
    query: Labelled
    way: int
    target: Unlabelled | None = None
    number: Tensor | None = None

    @property
    def x(self) -> Inputs:
        """All inputs as one batch, ``(E*N*(K+Q), ...)``: for each episode, the support and then the queries."""
        return flat_first(join([self.support.x, self.query.x], dim=1))

    @property
    def index(self) -> Tensor:  # type: ignore[override]  # hides tuple.index, which is not used
        """Positions in the set in the same order, ``(E*N*(K+Q),)``."""
        return torch.cat([self.support.index, self.query.index], 1).flatten()

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Split the outputs for :attr:`x`: ``(E*N*(K+Q), D)`` -> ``(E, N*K, D)`` and ``(E, N*Q, D)``."""
        sizes = [self.support.y.shape[1], self.query.y.shape[1]]
        support, query = outputs.unflatten(0, (len(self.support.y), sum(sizes))).split(sizes, 1)
        return support, query
