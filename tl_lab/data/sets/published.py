"""Base class of data sets with a published split into training and test."""

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.splits import check_labels, hold_out
from tl_lab.errors import UserError
from tl_lab.options import Fraction

__all__ = ["PublishedSet", "read_published"]

_CLASSES = 10  # number of classes of every set read here


class PublishedSet(DataModule):
    """A labelled set with a published test part; a stratified validation set is held out from the training part.

    A subclass sets the class attributes and implements :meth:`read_part`.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        download: whether to download the files if they are missing.
        val_share: share of the published training part held out for validation, in (0, 1).
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    title: ClassVar[str]
    """Name of the set, for messages."""
    how_to_get: ClassVar[str]
    """How to get a missing set, in the imperative, for messages."""
    names: ClassVar[tuple[str, ...]]
    """Names of the classes in the order of the labels."""
    place_options = ("root",)

    def __init__(
        self, *, root: str | None = None, download: bool = False, val_share: Fraction = 0.1, **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 < val_share < 1:
            raise UserError(f"data.val_share must be between 0 and 1, not {val_share}")
        self.root, self.download, self.val_share = root, download, val_share

    @abstractmethod
    def read_part(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Read the published training or test part.

        Args:
            root: folder of the data sets.
            train: whether to read the training or the test part.

        Returns:
            Images uint8 ``(N, C, H, W)`` and classes int64 ``(N,)``.
        """

    def read(self) -> dict[str, Samples]:
        """Read both parts, and hold out the validation set from the training part."""
        root = find_root(self.root, self.title, self.how_to_get, create=self.download)
        self.class_names = list(self.names)
        train, test = Samples(*self.read_part(root, True)), Samples(*self.read_part(root, False))
        self.contents = [train.fingerprint(), test.fingerprint()]
        assert train.y is not None
        kept, held_out = hold_out(train.y, {"val": self.val_share}, self.seed, self.class_names)
        return {"train": train.subset(kept), "val": train.subset(held_out["val"]), "test": test}


def read_published(
    loader: Callable[..., Any], root: Path, train: bool, download: bool, place: str, title: str, how_to_get: str
) -> tuple[Tensor, Tensor]:
    """Read one part of a set with torchvision's loader.

    Args:
        loader: class of ``torchvision.datasets``.
        root: folder of the data sets.
        train: whether to read the training or the test part.
        download: whether to download the files if they are missing.
        place: a file or folder of the set, relative to ``root``.
        title: name of the set, for messages.
        how_to_get: how to get a missing set, for messages.

    Returns:
        Images uint8 ``(N, C, H, W)`` and classes int64 ``(N,)``.

    Raises:
        UserError: the files are missing, damaged, or cannot be downloaded.
    """
    if not download and not (root / place).exists():
        raise missing(title, root / place, how_to_get)
    try:
        data = loader(str(root), train=train, download=download)
    except Exception as error:  # loaders raise arbitrary errors for damaged files
        reason = (str(error).split("\n")[0] or type(error).__name__).rstrip(".")
        doing = "downloaded or read" if download else "read; its files may be incomplete or damaged"
        raise UserError(f"{title} in {root / place} cannot be {doing} ({reason}): {how_to_get}") from error
    images = torch.as_tensor(data.data)
    # (N, H, W) -> (N, 1, H, W), (N, H, W, 3) -> (N, 3, H, W)
    images = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
    labels = torch.as_tensor(data.targets, dtype=torch.int64)
    if len(images) != len(labels):
        raise UserError(
            f"{title} in {root / place} has {len(images):,} images and {len(labels):,} labels: {how_to_get}"
        )
    check_labels(labels, _CLASSES, f"the labels of {title} beside {root / place}")
    return images.contiguous(), labels
