"""Folders with one sub-folder of files per class, as a set or as a domain pair; the same rules for all files."""

import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tl_lab.data.inputs.finding import class_folders, describe_other_files, files_below, is_of_type, sub_folders
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.splits import check_shares, hold_out, random_split, split_in_three
from tl_lab.errors import UserError, nearest
from tl_lab.options import Fraction
from tl_lab.texts import counted, listed

__all__ = ["ClassFolders", "FileKind", "FolderPair", "Scan", "find_folder", "given_parts", "scan_classes", "scan_flat"]

_PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class FileKind:
    """Kind of files.

    Args:
        plural: name of the files in messages, such as ``images``.
        types: extensions of the files, in lower case, with the dot.
        example: name of a file in messages, such as ``IMAGE.jpg``.
    """

    plural: str
    types: frozenset[str]
    example: str

    @property
    def listed(self) -> str:
        """The extensions, for messages."""
        return " ".join(sorted(self.types))


@dataclass
class Scan:
    """Content of a folder.

    Args:
        folder: the folder.
        names: names of the files relative to the folder, with ``/`` between folders, sorted by class, then by name.
        labels: classes of the files, int64 ``(N,)``; None if the folder has no class folders.
        class_names: names of the class folders in the order of the labels; empty if there are none.
        notes: descriptions of ignored files.
    """

    folder: Path
    names: list[str]
    labels: Tensor | None
    class_names: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """Paths of the files."""
        return [self.folder / name for name in self.names]


# ---------------------------------------------------------------------- finding files


def find_folder(path: str | Path | None, argument: str, plural: str = "images") -> Path:
    """Find a folder given by the user: the path itself, or the same path in the folder of data sets.

    Args:
        path: absolute, or relative to the current folder or to ``TL_LAB_DATA``; ``~`` allowed.
        argument: name of the option, for messages.
        plural: name of the files in the folder, for messages.

    Returns:
        The absolute path of an existing folder.

    Raises:
        UserError: the option is not set, or the folder does not exist.
    """
    if not path:
        raise UserError(f"{argument} is not set: give the folder with the {plural}, {argument}=<folder>")
    places = places_of(path)
    for place in places:
        if place.is_dir():
            return place
    elsewhere = "" if places == [Path(path)] else f": looked for {' and '.join(map(str, places))}"
    raise UserError(f"{argument}={path} is not a folder{elsewhere}")


def given_parts(folder: Path, split: str) -> dict[str, Path]:
    """Find the parts of a split given as folders: ``train``, and ``val`` and ``test`` if they exist.

    Args:
        folder: the set's folder.
        split: ``given``, ``random``, or ``auto``, which means ``given`` if there is a ``train`` folder and all
            sub-folders are parts.

    Returns:
        The folder of each part; empty if the seed determines the split.

    Raises:
        UserError: the option is invalid, or it is ``given`` and there is no folder ``train``, or it is ``auto`` and
            some of the folders are parts and others are not.
    """
    if split not in ("auto", "given", "random"):
        raise UserError(f"data.split must be 'auto', 'given' or 'random', not {split!r}")
    present = sub_folders(folder)
    parts = {part: folder / name for part, names in _PARTS.items() for name in reversed(names) if name in present}
    known = {name for names in _PARTS.values() for name in names}
    if split == "given" and "train" not in parts:
        raise UserError(f"data.split=given, but {folder} has no folder 'train': it has {listed(present) or 'none'}")
    if split == "random":
        return {}
    others = [name for name in present if name not in known]
    if split == "auto" and "train" in parts and len(parts) > 1 and others:
        named = listed(sorted(path.name for path in parts.values()))
        raise UserError(
            f"{folder} has the folders {named}, and also {listed(others)}: set "
            "data.split=given to read the former as the parts of a split, or data.split=random if all are classes"
        )
    return parts if split == "given" or ("train" in parts and not others) else {}


def scan_classes(
    folder: Path, kind: FileKind, class_names: list[str] | None = None, argument: str | None = None
) -> Scan:
    """List the files in a folder of class folders, at any depth within a class folder.

    Args:
        folder: folder with one sub-folder per class.
        kind: kind of the files.
        class_names: class names in the order of the labels, if another set determines them; None for the names of the
            sub-folders.
        argument: the option that gives the folder, for messages; None if there is none.

    Returns:
        The files with labels; the notes describe classes without a folder and files of other kinds.

    Raises:
        UserError: there is no class folder, a class folder has no such files, or a class is not among
            ``class_names``.
    """
    present = class_folders(folder)
    if not present:
        where = f"{argument}: " if argument else ""
        raise UserError(f"{where}{folder} has no class folders: expected {folder / 'CLASS' / kind.example}")
    names = list(present) if class_names is None else class_names
    if unknown := [name for name in present if name not in names]:
        raise UserError(
            f"{folder} has class folders that are not among the {len(names)} of training ({listed(unknown)}): the head "
            f"has no output for them; {nearest(unknown[0], names)}; rename or remove the folders"
        )
    found: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    others: Counter[str] = Counter()
    for name in present:
        files = [f"{present[name].name}/{path}" for path in files_below(present[name], kind.types, others)]
        found += files
        labels += [names.index(name)] * len(files)
        if not files:
            empty.append(name)
    if empty:
        raise UserError(
            f"{len(empty)} of the {len(present)} class folders in {folder} contain no {kind.plural} ({listed(empty)}): "
            f"add {kind.plural} ({kind.listed}) or remove the folders"
        )
    notes = [describe_other_files(others, folder, kind.plural)] if others else []
    loose = sum(is_of_type(entry.name, kind.types) for entry in os.scandir(folder) if entry.is_file())
    if loose:
        notes.append(f"{folder}: ignored {counted(loose, kind.plural.removesuffix('s'))} outside the class folders")
    if absent := [name for name in names if name not in present]:
        notes.append(f"{folder}: no {kind.plural} of {len(absent)} of the {len(names)} classes ({listed(absent)})")
    return Scan(folder, found, torch.tensor(labels), list(names), notes)


def scan_flat(folder: Path, kind: FileKind) -> Scan:
    """List the files directly in a folder, without classes.

    Args:
        folder: folder of files.
        kind: kind of the files.

    Returns:
        The files, without labels.

    Raises:
        UserError: there are none.
    """
    others: Counter[str] = Counter()
    found = [name for name in files_below(folder, kind.types, others) if "/" not in name]
    if not found:
        raise UserError(f"{folder} contains neither {kind.plural} ({kind.listed}) nor class folders")
    return Scan(folder, found, None, [], [describe_other_files(others, folder, kind.plural)] if others else [])


# ---------------------------------------------------------------------- data modules


class ClassFolders(ABC):
    """Base class of data modules that read folders of files with one sub-folder per class.

    A subclass sets ``file_kind`` and implements :meth:`samples_of`.
    """

    file_kind: ClassVar[FileKind]
    notes: list[str]
    seed: int
    split: str
    val_share: float
    test_share: float

    def set_split(self, split: str, val_share: float, test_share: float) -> None:
        """Take the options that determine how a folder is split.

        Raises:
            UserError: the shares would leave a part empty.
        """
        check_shares(val_share, test_share)
        self.split, self.val_share, self.test_share = split, val_share, test_share

    @abstractmethod
    def samples_of(self, scan: Scan) -> Samples:
        """Build a set from the listed files, and add to ``notes`` and ``contents``."""

    def finished(self, sets: dict[str, Samples], folder: Path) -> dict[str, Samples]:
        """Change all parts of a folder together; a hook for subclasses."""
        return sets

    def labelled_sets(self, folder: Path, argument: str) -> tuple[dict[str, Samples], list[str]]:
        """Read ``train``, ``val`` and ``test`` from a folder, split by its sub-folders or by the seed.

        Parts without a sub-folder are drawn from the training part.

        Args:
            folder: the folder.
            argument: the option that gives it, for messages.

        Returns:
            The sets, and the names of the classes.
        """
        parts = given_parts(folder, self.split)
        scan = scan_classes(parts.get("train", folder), self.file_kind, argument=argument)
        names, samples = scan.class_names, self.samples_of(scan)
        if not parts:
            sets = split_in_three(samples, self.val_share, self.test_share, self.seed, names)
            return self.finished(sets, folder), names
        given = {
            part: self.samples_of(scan_classes(place, self.file_kind, names))
            for part, place in parts.items()
            if part != "train"
        }
        wanted = {"val": self.val_share, "test": self.test_share}
        to_make = {part: share for part, share in wanted.items() if part not in given}
        if not to_make:
            return self.finished({"train": samples, **given}, folder), names
        self.notes.append(
            f"{' and '.join(to_make)}: no folder in {folder}, held out from its training {self.file_kind.plural}"
        )
        assert samples.y is not None
        train, made = hold_out(samples.y, to_make, self.seed, names)
        sets = {"train": samples.subset(train), **{part: samples.subset(index) for part, index in made.items()}}
        return self.finished(sets | given, folder), names


class FolderPair(ClassFolders, DomainPair):
    """Base class of domain pairs of folders: labelled sources, and a target whose labels are used only for the score.

    The target is one of

    - a folder of class folders, which is split at random by the seed, independent of labels;
    - a folder with ``train/`` (class folders, or files without classes) and ``test/`` (class folders);
    - a flat folder of files, all of which are used for training, so that there is no target score.

    Classes are matched by the names of their folders, and the source's order determines the labels. If the domains
    share only some of their classes, a warning lists the others. A target class that the source lacks cannot be
    predicted, so its files are excluded from the score, but remain, without labels, in the training part.

    Args:
        source: folder of the source, absolute or relative to the current folder or to ``TL_LAB_DATA``; or a list
            of such folders, which are combined.
        target: folder of the target, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        split: split of the source and of the target: ``given``, ``random``, or ``auto``, which means ``given`` if
            there is a ``train`` folder and all sub-folders are parts.
        val_share: share of a source class's files for validation if there is no folder ``val``, in (0, 1).
        test_share: share of a source class's files for test if there is no folder ``test``, in (0, 1).
        target_test_share: share of all target files for the final score if there is no folder ``test``, in (0, 1).
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
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.set_split(split, val_share, test_share)
        if not 0 < target_test_share < 1:
            raise UserError(f"data.target_test_share must be between 0 and 1, not {target_test_share}")
        self.sources = [source] if isinstance(source, str) or source is None else list(source)
        if not self.sources:
            raise UserError("data.source is empty: give a folder, or a list of folders")
        self.target, self.target_test_share = target, target_test_share

    def folders(self) -> tuple[list[Path], Path]:
        """Return the folders of the sources, and the folder of the target."""
        sources = [find_folder(source, "data.source", self.file_kind.plural) for source in self.sources]
        target = find_folder(self.target, "data.target", self.file_kind.plural)
        if target in sources:
            raise UserError(f"data.source and data.target are both {target}: give two different folders")
        return sources, target

    def read(self) -> dict[str, Samples]:
        """List the files of all domains, and split them."""
        self.contents = []
        sources, target = self.folders()
        parts: dict[str, list[Samples]] = {}
        found = [self.labelled_sets(folder, "data.source") for folder in sources]
        self.class_names = sorted({name for _, names in found for name in names})
        for folder, (sets, names) in zip(sources, found, strict=True):
            place = torch.tensor([self.class_names.index(name) for name in names])
            for part, samples in sets.items():
                assert samples.y is not None
                parts.setdefault(f"source/{part}", []).append(replace(samples, y=place[samples.y]))
            if len(sources) > 1:
                self.notes.append(f"source {folder.name}: {sum(map(len, sets.values())):,} {self.file_kind.plural}")
        joined = {name: Samples.concatenate(samples) for name, samples in parts.items()}
        return joined | self.finished(self._target_sets(target), target)

    def _target_sets(self, folder: Path) -> dict[str, Samples]:
        parts = given_parts(folder, self.split if class_folders(folder) else "random")
        place = parts.get("train", folder)
        if "val" in parts:
            self.notes.append(f"{parts['val']}: unused, because target labels are used only for the score")
        if not class_folders(place):
            train = self.samples_of(scan_flat(place, self.file_kind))
            if "test" in parts:
                return {"target/train": train, "target/test": self._scored(parts["test"])[1]}
            self.notes.append(
                f"{place}: {len(train)} {self.file_kind.plural} without class folders, so the target is not scored"
            )
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
        """Return all labelled files of a target, with -1 for unknown classes, and those of known classes alone."""
        names, plural = list(class_folders(folder)), self.file_kind.plural
        shared = [name for name in names if name in self.class_names]
        unknown = [name for name in names if name not in self.class_names]
        if not shared:
            raise UserError(
                f"source and target have no class in common: the source has {listed(self.class_names)}, and "
                f"{folder} has {listed(names)}; classes are matched by the names of their folders"
            )
        if unknown:
            message = (
                f"{folder} has {counted(len(unknown), 'class', 'classes')} that the source lacks "
                f"({listed(unknown)}): their {plural} stay in the training part without labels and are excluded from "
                "the score"
            )
            warnings.warn(message, stacklevel=2)
            self.notes.append(message)
        if absent := [name for name in self.class_names if name not in names]:
            warnings.warn(
                f"{folder} has no {plural} of {len(absent)} of the source's {len(self.class_names)} classes "
                f"({listed(absent)}): the domains share only some of their classes",
                stacklevel=2,
            )
        samples = self.samples_of(scan_classes(folder, self.file_kind, [*self.class_names, *unknown]))
        assert samples.y is not None
        y = torch.where(samples.y < len(self.class_names), samples.y, torch.full_like(samples.y, -1))
        whole = replace(samples, y=y)
        return whole, whole.subset(torch.nonzero(y >= 0).squeeze(1))


def _without_unknown(samples: Samples) -> Samples:
    """Remove all labels if some are unknown, because an oracle cannot be trained on them."""
    assert samples.y is not None
    return samples.without_labels() if bool(samples.y.lt(0).any()) else samples
