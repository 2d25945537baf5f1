"""What sets of samples of different lengths have in common: texts and recordings."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.request import Request

__all__ = ["OfSequences"]


class OfSequences(DataModule):
    """What sets and pairs of domains of sequences have in common.

    Args:
        length_buckets: form training batches of samples of similar lengths, which need less padding.
        options: those of the class beside it.
    """

    def __init__(self, *, length_buckets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.length_buckets = length_buckets
        self._shape = ()  # sequences have none, and nothing of a backbone is filled in from it

    def load(self, request: Request | None = None) -> None:
        """Read the sets; sequences have no shape."""
        super().load(request)
        self._shape = ()

    def use(self, spec: InputSpec) -> None:
        """Bring the sets to the declared input, or leave them to the workers."""
        super().use(spec)
        if self.read_as_needed:
            self.notes.append("read as they are needed, in batches of any lengths")

    def lengths(self, name: str) -> Tensor | None:
        """Count the places of each sample, where batches are formed by length."""
        x = self.sets[name].x
        return self.count_places(x).cpu() if self.length_buckets and isinstance(x, Mapping) else None

    @abstractmethod
    def count_places(self, x: Mapping[str, Tensor]) -> Tensor:
        """Count the places of each sample, ``(N,)``, in the named tensors of a set."""
