"""What sets of recordings have in common."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.request import Request

__all__ = ["OfAudio"]


class OfAudio(DataModule):
    """What sets and pairs of domains of recordings have in common.

    Args:
        length_buckets: form training batches of recordings of similar lengths, which need less padding.
        options: those of the class beside it.
    """

    modality = "audio"

    def __init__(self, *, length_buckets: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.length_buckets = length_buckets
        self._shape = ()  # recordings have none, and nothing of a backbone is filled in from it

    def load(self, request: Request | None = None) -> None:
        """Read the sets; recordings have no shape."""
        super().load(request)
        self._shape = ()

    def lengths(self, name: str) -> Tensor | None:
        """Count the frames of each recording, where batches are formed by length."""
        x = self.sets[name].x
        if not self.length_buckets or not isinstance(x, Mapping):
            return None
        return x["length"].cpu()
