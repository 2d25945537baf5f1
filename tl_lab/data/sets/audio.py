"""What sets of recordings have in common."""

from typing import Any

from tl_lab.data.request import Request
from tl_lab.data.sets.few_tested import FewTested

__all__ = ["OfAudio"]


class OfAudio(FewTested):
    """What sets and pairs of domains of recordings have in common.

    Args:
        options: ``test_count`` and those of the class beside it.
    """

    modality = "audio"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shape = ()  # recordings have none, and nothing of a backbone is filled in from it

    def load(self, request: Request | None = None) -> None:
        """Read the sets, and leave out test samples beyond ``test_count``."""
        super().load(request)
        self._shape = ()
