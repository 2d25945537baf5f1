"""A set of samples: inputs in memory or read lazily, with or without labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from tl_lab.data.inputs.preprocessing import Preprocessing

__all__ = ["LazyInputs", "Samples"]


class LazyInputs(Protocol):
    """Inputs that live on disk and are decoded on demand."""

    def __len__(self) -> int: ...

    def read(self, i: int, preprocessing: Preprocessing) -> Tensor:
        """Decode one image to ``(channels, *size)``, uint8."""

    def load_all(self, preprocessing: Preprocessing, workers: int) -> Tensor:
        """Decode everything to ``(N, channels, *size)``, uint8."""

    def subset(self, index: Tensor) -> Any:
        """Keep the samples at ``index`` only."""

    def concatenate(self, parts: Any) -> Any:
        """Join inputs of this kind, in order; this one is the first of them."""

    def fingerprint(self) -> str:
        """Hash of what is on disk (names, sizes), as hexadecimal digits."""


@dataclass(frozen=True)
class Samples:
    """A set of samples.

    Args:
        x: inputs: a tensor ``(N, ...)`` (images uint8 ``(N, C, H, W)`` in 0..255, or float in [0, 1]), or
            :class:`LazyInputs`.
        y: classes, ``(N,)``, int64; None where labels are withheld or unknown.
    """

    x: Tensor | LazyInputs
    y: Tensor | None

    def __len__(self) -> int:
        return len(self.x)

    def subset(self, index: Tensor) -> "Samples":
        """Keep the samples at ``index``, ``(M,)``, int64, in that order."""
        x = self.x[index] if isinstance(self.x, Tensor) else self.x.subset(index)
        return Samples(x, None if self.y is None else self.y[index])

    def without_labels(self) -> "Samples":
        """Withhold the labels: what training on a target domain may see."""
        return replace(self, y=None)

    @staticmethod
    def concatenate(parts: "Sequence[Samples]") -> "Samples":
        """Join sets, in order; labels are withheld unless all parts have them.

        Args:
            parts: at least one, all with tensors of one shape, or all on disk.

        Raises:
            ValueError: tensors and inputs on disk are mixed.
        """
        inputs = [part.x for part in parts]
        labels = [part.y for part in parts]
        y = None if any(label is None for label in labels) else torch.cat(labels)  # type: ignore[arg-type]
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        if len(tensors) == len(inputs):
            return Samples(torch.cat(tensors), y)
        if tensors:
            raise ValueError("inputs in memory and on disk cannot be joined")
        lazy: Any = inputs
        return Samples(lazy[0].concatenate(lazy), y)

    def fingerprint(self) -> str:
        """Hash inputs and labels: equal sets have equal fingerprints.

        Returns:
            Sixteen hexadecimal digits.
        """
        digest = hashlib.sha256()
        for part in (self.x, self.y):
            if isinstance(part, Tensor):
                digest.update(f"{part.dtype}{tuple(part.shape)}".encode())
                digest.update(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
            elif part is not None:
                digest.update(part.fingerprint().encode())
        return digest.hexdigest()[:16]
