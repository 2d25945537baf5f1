"""USPS: grey images of 16 x 16 pixels with handwritten digits from envelopes."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor

from tl_lab.data.sets.published import PublishedSet, read_published

__all__ = ["Usps"]


class Usps(PublishedSet):
    """Digits of postal codes: 7,291 for training and 2,007 for test, ``(1, 16, 16)``, ten classes.

    References:
        J. J. Hull: A Database for Handwritten Text Recognition Research. IEEE Transactions on Pattern Analysis
        and Machine Intelligence 16(5), 1994. https://doi.org/10.1109/34.291440
    """

    title = "USPS"
    how_to_get = "set data.download=true once, or put usps.bz2 and usps.t.bz2 of the LIBSVM data page there"
    names: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def read_part(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Read one part from ``root/usps.bz2`` or ``root/usps.t.bz2``."""
        from torchvision.datasets import USPS

        place = "usps.bz2" if train else "usps.t.bz2"
        return read_published(USPS, root, train, self.download, place, self.title, self.how_to_get)
