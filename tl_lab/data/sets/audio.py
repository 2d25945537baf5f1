"""Base class of sets of recordings."""

from collections.abc import Mapping

from torch import Tensor

from tl_lab.data.sets.sequences import OfSequences

__all__ = ["OfAudio"]


class OfAudio(OfSequences):
    """Base class of sets and pairs of domains of recordings, with the arguments of :class:`OfSequences`."""

    modality = "audio"

    def count_places(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the number of frames of each recording."""
        return x["length"]
