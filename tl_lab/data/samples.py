"""Sets of samples: inputs in memory or read lazily, with or without labels."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from typing_extensions import TypeIs

from tl_lab.data.inputs.operations import Inputs, count, join, take, update_digest

__all__ = ["LazyInputs", "Samples", "in_memory"]


class LazyInputs(Protocol):
    """Inputs that are decoded on demand, usually from disk."""

    def __len__(self) -> int: ...

    def bytes_for(self, spec: Any) -> int:
        """Estimate the memory that all samples need, in bytes; 0 if they always fit."""

    def read(self, i: int, spec: Any) -> Inputs:
        """Decode one sample into a backbone's input format: for images ``(channels, *size)``, uint8."""

    def load_all(self, spec: Any, workers: int) -> Inputs:
        """Decode all samples: for images ``(N, channels, *size)``, uint8."""

    def subset(self, index: Tensor) -> Any:
        """Return the samples at ``index`` only."""

    def concatenate(self, parts: Any) -> Any:
        """Concatenate inputs of this kind, starting with this one."""

    def fingerprint(self) -> str:
        """Return a hash of the content, as hexadecimal digits."""


def in_memory(x: Inputs | LazyInputs) -> TypeIs[Inputs]:
    """Whether inputs are tensors, which can be indexed, and not decoded on demand."""
    return isinstance(x, Tensor | Mapping)


@dataclass(frozen=True)
class Samples:
    """A set of samples.

    Args:
        x: inputs: a tensor ``(N, ...)`` (images uint8 ``(N, C, H, W)`` in 0..255, or float in [0, 1]), several named
            tensors, or :class:`LazyInputs`.
        y: labels: classes ``(N,)`` int64, or ``(N, ...)`` for other problems; None if they are
            withheld or unknown.
        domain: number of each sample's domain, ``(N,)``, int64, if there are several; otherwise None.
        columns: further information about each sample, ``(N, ...)`` by name (``group``, ``time``, ``text_id``).
    """

    x: Inputs | LazyInputs
    y: Tensor | None
    domain: Tensor | None = None
    columns: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return count(self.x) if in_memory(self.x) else len(self.x)

    def subset(self, index: Tensor) -> "Samples":
        """Return the samples at ``index``, ``(M,)``, int64, in that order."""
        x = take(self.x, index) if in_memory(self.x) else self.x.subset(index)
        return self._replaced(x, lambda column: column[index])

    def to(self, device: torch.device, x: Inputs | LazyInputs) -> "Samples":
        """Move labels, domains and columns to a device, and replace the inputs by ``x``."""
        return self._replaced(x, lambda column: column.to(device))

    def without_labels(self) -> "Samples":
        """Return the samples without their labels, for training on a target domain."""
        return replace(self, y=None)

    @staticmethod
    def concatenate(parts: "Sequence[Samples]") -> "Samples":
        """Concatenate sets; labels, domains and columns are dropped unless all parts have them.

        Args:
            parts: at least one set; all have tensors of the same sample shape (or of the same names), or all are on
                disk.

        Raises:
            ValueError: inputs in memory are mixed with inputs on disk, or tensors with named tensors.
        """
        inputs = [part.x for part in parts]
        memory = [x for x in inputs if in_memory(x)]
        if 0 < len(memory) < len(inputs):
            raise ValueError("inputs in memory and on disk cannot be joined")
        lazy: Any = inputs
        x = join(memory) if memory else lazy[0].concatenate(lazy)
        shared = set.intersection(*(set(part.columns) for part in parts))
        return Samples(
            x,
            _joined([part.y for part in parts]),
            _joined([part.domain for part in parts]),
            {name: torch.cat([part.columns[name] for part in parts]) for name in parts[0].columns if name in shared},
        )

    def fingerprint(self) -> str:
        """Hash inputs, labels, domains and columns: equal sets have equal fingerprints.

        Returns:
            Sixteen hexadecimal digits.
        """
        digest = hashlib.sha256()
        if in_memory(self.x):
            update_digest(digest, self.x)
        else:
            digest.update(self.x.fingerprint().encode())
        for column in self._fields().values():
            update_digest(digest, column)
        if self.columns:
            update_digest(digest, self.columns)
        return digest.hexdigest()[:16]

    def _fields(self) -> dict[str, Tensor]:
        """Return labels and domains by name, where they exist."""
        return {name: column for name in ("y", "domain") if (column := getattr(self, name)) is not None}

    def _replaced(self, x: Inputs | LazyInputs, change: Callable[[Tensor], Tensor]) -> "Samples":
        fields: dict[str, Any] = {name: change(column) for name, column in self._fields().items()}
        return replace(self, x=x, columns={name: change(column) for name, column in self.columns.items()}, **fields)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None
