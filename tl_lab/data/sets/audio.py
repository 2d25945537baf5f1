"""What sets of recordings have in common."""

from collections.abc import Mapping

from torch import Tensor

from tl_lab.data.sets.sequences import OfSequences

__all__ = ["OfAudio"]


class OfAudio(OfSequences):
    """What sets and pairs of domains of recordings have in common; arguments as of :class:`OfSequences`."""

    modality = "audio"

    def count_places(self, x: Mapping[str, Tensor]) -> Tensor:
        """Count the frames of each recording."""
        return x["length"]
