"""Base class of sets of samples of different lengths: texts and recordings."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.request import Request
from tl_lab.data.samples import in_memory

__all__ = ["OfSequences"]


class OfSequences(DataModule):
    """Base class of sets and pairs of domains of sequences.

    Args:
        length_buckets: whether training batches consist of samples of similar lengths, which need less padding.
        options: arguments of the other base class.
    """

    def __init__(self, *, length_buckets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.length_buckets = length_buckets
        self._shape = ()  # sequences have no fixed shape, and backbones do not depend on it

    def load(self, request: Request | None = None) -> None:
        """Read the sets; their shape is ``()``."""
        super().load(request)
        self._shape = ()

    def use(self, spec: InputSpec) -> None:
        """Convert the sets to the backbone's input format, or leave this to the workers."""
        super().use(spec)
        if self.read_as_needed:
            measured = all(hasattr(samples.x, "lengths") for samples in self.sets.values() if not in_memory(samples.x))
            self.notes.append("read on demand" if measured else "read on demand, in batches of any lengths")

    def lengths(self, name: str) -> Tensor | None:
        """Return the length of each sample, ``(N,)``, if batches are formed by length."""
        x: Any = self.sets[name].x
        if not self.length_buckets:
            return None
        if isinstance(x, Mapping):
            return self.count_places(x).cpu()
        return x.lengths(self.spec) if hasattr(x, "lengths") else None

    @abstractmethod
    def count_places(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the length of each sample, ``(N,)``, from the named tensors of a set."""
