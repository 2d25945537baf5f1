"""Folders of images with one sub-folder per class, as a set or as a domain pair."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.decoding import IMAGE_TYPES
from tl_lab.data.inputs.dicom import DICOM_TYPES
from tl_lab.data.inputs.examining import keep_readable, levels_for
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.levels import Levels
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.sets.class_folders import ClassFolders, FileKind, FolderPair, Scan, find_folder
from tl_lab.errors import UserError
from tl_lab.options import Count, Fraction, Limits

__all__ = ["ImageFolder", "ImageFolderPair", "ImageReading"]


class ImageReading:
    """Base class of data modules that read image files: the options, and the conversion of files to sets."""

    decodes_for_backbone = True
    notes: list[str]
    contents: list[str]
    workers: int

    def set_reading(self, unreadable: str, size: int, channels: int, levels: Limits | None) -> None:
        """Take the options that determine how files are decoded.

        Raises:
            UserError: size or channels are out of range.
        """
        if channels not in (1, 3) or size < 1:
            raise UserError(f"data.channels must be 1 or 3 and data.size at least 1, not {channels} and {size}")
        self.unreadable, self.size, self.channels = unreadable, size, channels
        self.levels = Levels()
        self.given_levels = None if levels is None else Levels.given(levels)

    def examined(self, files: ImageFiles, labels: Tensor | None, class_names: Sequence[str]) -> Samples:
        """Build a set from image files after decoding each of them once; see :func:`keep_readable`."""
        kept, labels, skipped = keep_readable(files, labels, self.unreadable, self.workers)
        samples = Samples(kept, labels)
        self.contents.append(samples.fingerprint() + " ".join(class_names))
        self.notes += [skipped] if skipped else []
        return samples

    @property
    def reading(self) -> dict[str, Any]:
        """Return how files were decoded (for a pair, those of the target), so that predictions decode files alike."""
        return {"levels": self.levels.state()} if self.levels.ranges else {}

    def levelled(self, sets: dict[str, Samples], folder: Path) -> dict[str, Samples]:
        """Use the same levels for values of more than 8 bits in all parts of a folder."""
        files = [samples.x for samples in sets.values() if isinstance(samples.x, ImageFiles)]
        levels = levels_for(files, self.given_levels, folder)
        if levels.ranges and any(part.depths() for part in files):
            self.notes.append(f"{folder.name}: {levels} are displayed from black to white")
        self.levels = levels
        return {
            name: replace(one, x=one.x.with_levels(levels)) if isinstance(one.x, ImageFiles) else one
            for name, one in sets.items()
        }

    def note_sizes(self, sets: dict[str, Samples], spec: ImageSpec) -> None:
        """Describe in ``notes`` how the images are decoded."""
        kind = "grey" if spec.channels == 1 else "RGB"
        where = "into memory" if all(in_memory(s.x) for s in sets.values()) else "on demand"
        self.notes.append(
            f"images: decoded {where}, resized and cropped at the centre (crop {spec.crop_pct:g}) to "
            f"{spec.size[0]}x{spec.size[1]} {kind}"
        )


class _ImageFolders(ImageReading, ClassFolders):
    """Image files in class folders."""

    file_kind = FileKind("images", IMAGE_TYPES | DICOM_TYPES, "IMAGE.jpg")

    def samples_of(self, scan: Scan) -> Samples:
        """Build a set from the listed files after decoding each of them once."""
        self.notes += scan.notes
        return self.examined(ImageFiles(scan.folder, scan.names), scan.labels, scan.class_names)

    def finished(self, sets: dict[str, Samples], folder: Path) -> dict[str, Samples]:
        """Use the same levels in all parts of a folder."""
        return self.levelled(sets, folder)


class ImageFolder(_ImageFolders, DataModule):
    """A folder of class folders of images, with a given split or a stratified split by the seed.

    A given split has ``root/train/CLASS/...``, ``root/val/CLASS/...`` and ``root/test/CLASS/...``; if one of the last
    two is missing, it is drawn from ``train``. Without a given split, the folder has ``root/CLASS/...``.

    Args:
        root: the folder, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        split: ``given``, ``random``, or ``auto``, which means ``given`` if there is a ``train`` folder and all
            sub-folders are parts.
        val_share: share of a class's images for validation if there is no folder ``val``, in (0, 1).
        test_share: share of a class's images for test if there is no folder ``test``, in (0, 1).
        unreadable: what to do with images that cannot be decoded: ``stop``, or ``skip`` them and report them in
            ``notes``.
        size: height and width in pixels, for a backbone without a fixed size.
        channels: 1 (grey) or 3 (RGB), for a backbone without a fixed number of channels.
        levels: values displayed as black and white, for images of more than 8 bits per value; None for 0 and the
            largest value of the smallest usual range that covers all images of a folder.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    place_options = ("root",)

    def __init__(
        self,
        *,
        root: str | None = None,
        split: Literal["auto", "given", "random"] = "auto",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        unreadable: Literal["stop", "skip"] = "stop",
        size: Count = 224,
        channels: Literal[1, 3] = 3,
        levels: Limits | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.set_split(split, val_share, test_share)
        self.set_reading(unreadable, size, channels, levels)
        self.root = root

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width for a backbone that does not define a size."""
        return self.channels, self.size, self.size

    def read(self) -> dict[str, Samples]:
        """List the images, and split them, without loading them."""
        self.contents = []
        sets, self.class_names = self.labelled_sets(find_folder(self.root, "data.root"), "data.root")
        return sets

    def use(self, spec: InputSpec) -> None:
        """Decode the images for the backbone's declared input, or leave this to the workers if they are many."""
        super().use(spec)
        assert isinstance(spec, ImageSpec)
        self.note_sizes(self.sets, spec)


class ImageFolderPair(_ImageFolders, FolderPair):
    """Folders of images: one or several labelled sources, and a target whose labels are used only for the final score.

    Args:
        unreadable: see :class:`ImageFolder`.
        size: see :class:`ImageFolder`.
        channels: see :class:`ImageFolder`.
        levels: see :class:`ImageFolder`.
        options: keyword arguments of :class:`~tl_lab.data.sets.class_folders.FolderPair`.
    """

    def __init__(
        self,
        *,
        unreadable: Literal["stop", "skip"] = "stop",
        size: Count = 224,
        channels: Literal[1, 3] = 3,
        levels: Limits | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.set_reading(unreadable, size, channels, levels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width for a backbone that does not define a size."""
        return self.channels, self.size, self.size

    def use(self, spec: InputSpec) -> None:
        """Decode the images for the backbone's declared input, or leave this to the workers if they are many."""
        super().use(spec)
        assert isinstance(spec, ImageSpec)
        self.note_sizes(self.sets, spec)
