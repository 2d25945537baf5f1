"""What a training or evaluation step receives."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["DomainBatch", "Labelled", "Unlabelled"]


class Labelled(NamedTuple):
    """Samples with their labels.

    Attributes:
        x: inputs, ``(B, C, H, W)`` for images.
        y: class of each sample, ``(B,)``, int64.
        index: position of each sample in its set, ``(B,)``, int64; sample weights and replay look things up by it.
        domain: number of each sample's domain, ``(B,)``, where there are several.
        task: number of each sample's task, ``(B,)``, where there are several.
    """

    x: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a batch
    domain: Tensor | None = None
    task: Tensor | None = None


class Unlabelled(NamedTuple):
    """Samples whose labels, if any exist, are withheld; the fields are those of :class:`Labelled`."""

    x: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a batch
    domain: Tensor | None = None


class DomainBatch(NamedTuple):
    """A labelled part of the source and an equally large unlabelled part of the target."""

    source: Labelled
    target: Unlabelled
