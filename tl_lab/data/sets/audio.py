"""What sets of recordings have in common."""

from typing import Any

from tl_lab.data.base import DataModule
from tl_lab.data.request import Request

__all__ = ["OfAudio"]


class OfAudio(DataModule):
    """What sets and pairs of domains of recordings have in common.

    Args:
        options: those of the class beside it.
    """

    modality = "audio"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shape = ()  # recordings have none, and nothing of a backbone is filled in from it

    def load(self, request: Request | None = None) -> None:
        """Read the sets; recordings have no shape."""
        super().load(request)
        self._shape = ()
