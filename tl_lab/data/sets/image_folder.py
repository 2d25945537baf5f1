"""Folders of images with one sub-folder per class, as a set or as a domain pair."""

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.decoding import IMAGE_TYPES
from tl_lab.data.inputs.examining import keep_readable, levels_for
from tl_lab.data.inputs.finding import class_folders, images_below, is_image, others_said, sub_folders
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.levels import Levels
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples, in_memory
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.splits import check_shares, hold_out, random_split, split_in_three
from tl_lab.errors import UserError, nearest
from tl_lab.options import Count, Fraction, Limits
from tl_lab.texts import listed

__all__ = [
    "ImageFolder",
    "ImageFolderPair",
    "ImageReading",
    "Scan",
    "find_folder",
    "given_parts",
    "scan_classes",
    "scan_flat",
]

_PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass
class Scan:
    """Content of a folder.

    Args:
        files: the images, sorted by class, then by name.
        labels: classes of the images, int64 ``(N,)``; None if the folder has no class folders.
        class_names: names of the class folders in the order of the labels; empty if there are none.
        notes: descriptions of ignored files.
    """

    files: ImageFiles
    labels: Tensor | None
    class_names: list[str]
    notes: list[str] = field(default_factory=list)


# ---------------------------------------------------------------------- finding files


def find_folder(path: str | Path | None, argument: str) -> Path:
    """Find a folder given by the user: the path itself, or the same path in the folder of data sets.

    Args:
        path: absolute, or relative to the current folder or to ``TL_LAB_DATA``; ``~`` allowed.
        argument: name of the option, for messages.

    Returns:
        The absolute path of an existing folder.

    Raises:
        UserError: the option is not set, or the folder does not exist.
    """
    if not path:
        raise UserError(f"{argument} is not set: give the folder with the images, {argument}=<folder>")
    places = places_of(path)
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"{argument}={path} is not a folder: looked for {' and '.join(map(str, places))}")


def given_parts(folder: Path, split: str) -> dict[str, Path]:
    """Find the parts of a split given as folders: ``train``, and ``val`` and ``test`` if they exist.

    Args:
        folder: the set's folder.
        split: ``given``, ``random``, or ``auto``, which means ``given`` if there is a ``train`` folder and all
            sub-folders are parts.

    Returns:
        The folder of each part; empty if the seed determines the split.

    Raises:
        UserError: the option is invalid, or it is ``given`` and there is no folder ``train``.
    """
    if split not in ("auto", "given", "random"):
        raise UserError(f"data.split must be 'auto', 'given' or 'random', not {split!r}")
    present = sub_folders(folder)
    parts = {part: folder / name for part, names in _PARTS.items() for name in reversed(names) if name in present}
    known = {name for names in _PARTS.values() for name in names}
    if split == "given" and "train" not in parts:
        raise UserError(f"data.split=given, but {folder} has no folder 'train': it has {listed(present) or 'none'}")
    if split == "random" or (split == "auto" and not ("train" in parts and known.issuperset(present))):
        return {}
    return parts


def scan_classes(folder: Path, class_names: list[str] | None = None) -> Scan:
    """List the images in a folder of class folders, at any depth within a class folder.

    Args:
        folder: folder with one sub-folder per class.
        class_names: class names in the order of the labels, if another set determines them; None for the names of the
            sub-folders.

    Returns:
        The images with labels; the notes describe classes without a folder and files that are not images.

    Raises:
        UserError: there is no class folder, a class folder has no images, or a class is not among
            ``class_names``.
    """
    present = class_folders(folder)
    if not present:
        raise UserError(f"{folder} has no class folders: expected {folder / 'CLASS' / 'IMAGE.jpg'}")
    names = list(present) if class_names is None else class_names
    if unknown := [name for name in present if name not in names]:
        raise UserError(
            f"{folder} has {len(unknown)} classes ({listed(unknown)}) that are not among the {len(names)} of training, "
            f"so the head has no output for them ({nearest(unknown[0], names)}): rename or remove the folders"
        )
    images: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    others: Counter[str] = Counter()
    for name in present:
        found = [f"{present[name].name}/{path}" for path in images_below(present[name], others)]
        images += found
        labels += [names.index(name)] * len(found)
        if not found:
            empty.append(name)
    if empty:
        raise UserError(
            f"{len(empty)} of the {len(present)} class folders in {folder} contain no images ({listed(empty)}): "
            f"add images ({' '.join(sorted(IMAGE_TYPES))}) or remove the folders"
        )
    notes = [others_said(others, folder)] if others else []
    if loose := sum(is_image(entry.name) for entry in os.scandir(folder) if entry.is_file()):
        notes.append(f"{folder}: {loose} images outside the class folders were ignored")
    if absent := [name for name in names if name not in present]:
        notes.append(f"{folder}: no images of {len(absent)} of the {len(names)} classes ({listed(absent)})")
    return Scan(ImageFiles(folder, images), torch.tensor(labels), list(names), notes)


def scan_flat(folder: Path) -> Scan:
    """List the images directly in a folder, without classes.

    Args:
        folder: folder of images.

    Returns:
        The images, without labels.

    Raises:
        UserError: there are no images.
    """
    others: Counter[str] = Counter()
    images = [name for name in images_below(folder, others) if "/" not in name]
    if not images:
        raise UserError(f"{folder} contains neither images ({' '.join(sorted(IMAGE_TYPES))}) nor class folders")
    return Scan(ImageFiles(folder, images), None, [], [others_said(others, folder)] if others else [])


# ---------------------------------------------------------------------- data modules


class ImageReading:
    """Base class of data modules that read image files: the options, and the conversion of files to sets."""

    notes: list[str]
    contents: list[str]
    seed: int
    workers: int

    def _set_reading(
        self,
        split: str,
        val_share: float,
        test_share: float,
        unreadable: str,
        size: int,
        channels: int,
        levels: Limits | None,
    ) -> None:
        check_shares(val_share, test_share)
        if channels not in (1, 3) or size < 1:
            raise UserError(f"data.channels must be 1 or 3 and data.size at least 1, not {channels} and {size}")
        self.split, self.val_share, self.test_share = split, val_share, test_share
        self.unreadable, self.size, self.channels = unreadable, size, channels
        self.levels = Levels()
        self.given_levels = None if levels is None else Levels.given(levels)

    def _samples(self, scan: Scan) -> Samples:
        files, labels, skipped = keep_readable(scan.files, scan.labels, self.unreadable, self.workers)
        self.contents.append(Samples(files, labels).fingerprint() + " ".join(scan.class_names))
        self.notes += [*scan.notes, *([skipped] if skipped else [])]
        return Samples(files, labels)

    @property
    def reading(self) -> dict[str, Any]:
        """Return how files were decoded (for a pair, those of the target), so that predictions decode files alike."""
        return {"levels": self.levels.state()} if self.levels.ranges else {}

    def _levelled(self, sets: dict[str, Samples], folder: Path) -> dict[str, Samples]:
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

    def _labelled_sets(self, folder: Path) -> tuple[dict[str, Samples], list[str]]:
        """Read ``train``, ``val`` and ``test`` from a folder, split by its sub-folders or by the seed."""
        sets, names = self._unlevelled_sets(folder)
        return self._levelled(sets, folder), names

    def _unlevelled_sets(self, folder: Path) -> tuple[dict[str, Samples], list[str]]:
        parts = given_parts(folder, self.split)
        scan = scan_classes(parts.get("train", folder))
        names, samples = scan.class_names, self._samples(scan)
        if not parts:
            return split_in_three(samples, self.val_share, self.test_share, self.seed, names), names
        given = {part: self._samples(scan_classes(place, names)) for part, place in parts.items() if part != "train"}
        wanted = {"val": self.val_share, "test": self.test_share}
        to_make = {part: share for part, share in wanted.items() if part not in given}
        if not to_make:
            return {"train": samples, **given}, names
        self.notes.append(f"{' and '.join(to_make)}: no folder in {folder}, held out from its training images")
        assert samples.y is not None
        train, made = hold_out(samples.y, to_make, self.seed, names)
        sets = {"train": samples.subset(train), **{part: samples.subset(index) for part, index in made.items()}}
        return sets | given, names

    def _note_sizes(self, sets: dict[str, Samples], spec: ImageSpec) -> None:
        kind = "grey" if spec.channels == 1 else "RGB"
        where = "into memory" if all(in_memory(s.x) for s in sets.values()) else "on demand"
        self.notes.append(
            f"images: decoded {where}, resized and cropped at the centre (crop {spec.crop_pct:g}) to "
            f"{spec.size[0]}x{spec.size[1]} {kind}"
        )


class ImageFolder(ImageReading, DataModule):
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
        self._set_reading(split, val_share, test_share, unreadable, size, channels, levels)
        self.root = root

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width for a backbone that does not define a size."""
        return self.channels, self.size, self.size

    def read(self) -> dict[str, Samples]:
        """List the images, and split them, without loading them."""
        self.contents = []
        sets, self.class_names = self._labelled_sets(find_folder(self.root, "data.root"))
        return sets

    def use(self, spec: InputSpec) -> None:
        """Decode the images for the backbone's declared input, or leave this to the workers if they are many."""
        super().use(spec)
        assert isinstance(spec, ImageSpec)
        self._note_sizes(self.sets, spec)


class ImageFolderPair(ImageReading, DomainPair):
    """Folders of images: one or several labelled sources, and a target whose labels are used only for the final score.

    The target is one of

    - a folder of class folders, which is split at random by the seed, independent of labels;
    - a folder with ``train/`` (class folders, or images without classes) and ``test/`` (class folders);
    - a flat folder of images, all of which are used for training, so that there is no target score.

    Classes are matched by the names of their folders, and the source's order determines the labels. If the domains
    share only some of their classes, a warning lists the others. A target class that the source lacks cannot be
    predicted, so its images are excluded from the score, but remain, without labels, in the training part.

    Args:
        source: folder of the source, absolute or relative to the current folder or to ``TL_LAB_DATA``; or a list
            of such folders, which are combined.
        target: folder of the target, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        split: split of the source and of the target (see :class:`ImageFolder`).
        val_share: share of a source class's images for validation if there is no folder ``val``, in (0, 1).
        test_share: share of a source class's images for test if there is no folder ``test``, in (0, 1).
        target_test_share: share of all target images for the final score if there is no folder ``test``, in (0, 1).
        unreadable: see :class:`ImageFolder`.
        size: see :class:`ImageFolder`.
        channels: see :class:`ImageFolder`.
        levels: see :class:`ImageFolder`.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.domain_pair.DomainPair`.
    """

    place_options: ClassVar[tuple[str, ...]] = ("source", "target")

    def __init__(
        self,
        *,
        source: str | Sequence[str] | None = None,
        target: str | None = None,
        split: Literal["auto", "given", "random"] = "auto",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        target_test_share: Fraction = 0.3,
        unreadable: Literal["stop", "skip"] = "stop",
        size: Count = 224,
        channels: Literal[1, 3] = 3,
        levels: Limits | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._set_reading(split, val_share, test_share, unreadable, size, channels, levels)
        if not 0 < target_test_share < 1:
            raise UserError(f"data.target_test_share must be between 0 and 1, not {target_test_share}")
        self.sources = [source] if isinstance(source, str) or source is None else list(source)
        if not self.sources:
            raise UserError("data.source is empty: give a folder, or a list of folders")
        self.target, self.target_test_share = target, target_test_share

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width for a backbone that does not define a size."""
        return self.channels, self.size, self.size

    def folders(self) -> tuple[list[Path], Path]:
        """Return the folders of the sources, and the folder of the target."""
        sources = [find_folder(source, "data.source") for source in self.sources]
        target = find_folder(self.target, "data.target")
        if target in sources:
            raise UserError(f"data.source and data.target are both {target}: give two different folders")
        return sources, target

    def read(self) -> dict[str, Samples]:
        """List the images of all domains, and split them, without loading them."""
        self.contents = []
        sources, target = self.folders()
        parts: dict[str, list[Samples]] = {}
        found = [self._labelled_sets(folder) for folder in sources]
        self.class_names = sorted({name for _, names in found for name in names})
        for folder, (sets, names) in zip(sources, found, strict=True):
            place = torch.tensor([self.class_names.index(name) for name in names])
            for part, samples in sets.items():
                assert samples.y is not None
                parts.setdefault(f"source/{part}", []).append(replace(samples, y=place[samples.y]))
            if len(sources) > 1:
                self.notes.append(f"source {folder.name}: {sum(map(len, sets.values())):,} images")
        joined = {name: Samples.concatenate(samples) for name, samples in parts.items()}
        return joined | self._levelled(self._target_sets(target), target)

    def use(self, spec: InputSpec) -> None:
        """Decode the images for the backbone's declared input, or leave this to the workers if they are many."""
        super().use(spec)
        assert isinstance(spec, ImageSpec)
        self._note_sizes(self.sets, spec)

    def _target_sets(self, folder: Path) -> dict[str, Samples]:
        parts = given_parts(folder, self.split if class_folders(folder) else "random")
        place = parts.get("train", folder)
        if not class_folders(place):
            train = self._samples(scan_flat(place))
            if "test" in parts:
                return {"target/train": train, "target/test": self._scored(parts["test"])[1]}
            self.notes.append(f"{place}: {len(train)} images without class folders, so the target is not scored")
            return {"target/train": train}
        train, _ = self._scored(place)
        if "test" in parts:
            return {"target/train": _without_unknown(train), "target/test": self._scored(parts["test"])[1]}
        held_out = max(1, round(self.target_test_share * len(train)))
        unlabelled, test_index = random_split(len(train), held_out, self.seed, "target/test")
        assert train.y is not None
        known = train.subset(test_index)
        assert known.y is not None
        return {
            "target/train": _without_unknown(train.subset(unlabelled)),
            "target/test": known.subset(torch.nonzero(known.y >= 0).squeeze(1)),
        }

    def _scored(self, folder: Path) -> tuple[Samples, Samples]:
        """Return all labelled images of a target, with -1 for unknown classes, and those of known classes alone."""
        names = list(class_folders(folder))
        shared = [name for name in names if name in self.class_names]
        unknown = [name for name in names if name not in self.class_names]
        if not shared:
            raise UserError(
                f"source and target have no class in common: the source has {listed(self.class_names)}, and "
                f"{folder} has {listed(names)}; classes are matched by the names of their folders"
            )
        if unknown:
            message = (
                f"{folder} has {len(unknown)} class{'es' if len(unknown) > 1 else ''} that the source lacks "
                f"({listed(unknown)}): their images stay in the training part without labels and are excluded from the "
                "score"
            )
            warnings.warn(message, stacklevel=2)
            self.notes.append(message)
        if absent := [name for name in self.class_names if name not in names]:
            warnings.warn(
                f"{folder} has no images of {len(absent)} of the source's {len(self.class_names)} classes "
                f"({listed(absent)}): the domains share only some of their classes",
                stacklevel=2,
            )
        samples = self._samples(scan_classes(folder, [*self.class_names, *unknown]))
        assert samples.y is not None
        y = torch.where(samples.y < len(self.class_names), samples.y, torch.full_like(samples.y, -1))
        return Samples(samples.x, y), Samples(samples.x, y).subset(torch.nonzero(y >= 0).squeeze(1))


def _without_unknown(samples: Samples) -> Samples:
    """Remove all labels if some are unknown, because an oracle cannot be trained on them."""
    assert samples.y is not None
    return samples.without_labels() if bool(samples.y.lt(0).any()) else samples
