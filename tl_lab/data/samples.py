"""A set of samples: inputs in memory or read lazily, with or without labels."""

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from tl_lab.data.preprocessing import Preprocessing

__all__ = ["LazyInputs", "Samples"]


class LazyInputs(Protocol):
    """Inputs that live on disk and are decoded on demand."""

    def __len__(self) -> int: ...

    def read(self, i: int, preprocessing: Preprocessing) -> Tensor:
        """Decode one image to ``(channels, *size)``, uint8."""

    def load_all(self, preprocessing: Preprocessing, workers: int) -> Tensor:
        """Decode everything to ``(N, channels, *size)``, uint8."""

    def subset(self, index: Tensor) -> "LazyInputs":
        """Keep the samples at ``index`` only."""

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
