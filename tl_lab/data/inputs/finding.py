"""Selection of the image files in a folder: one rule for training and predictions."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tl_lab.data.inputs.decoding import IMAGE_TYPES
from tl_lab.data.inputs.dicom import DICOM_TYPES
from tl_lab.errors import UserError
from tl_lab.texts import listed, one_line, printable, same_name

__all__ = ["class_folders", "images_below", "is_image", "is_left_aside", "others_said", "sub_folders"]

_NOT_DATA = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})


def is_left_aside(name: str) -> bool:
    """Whether a file or folder is hidden or created by an operating system (``._a.jpg``, ``__MACOSX``)."""
    return name.startswith(".") or name in _NOT_DATA


def is_image(name: str) -> bool:
    """Whether a file counts as an image, by its name."""
    return not is_left_aside(name) and Path(name).suffix.lower() in IMAGE_TYPES | DICOM_TYPES


def sub_folders(folder: Path) -> list[str]:
    """List the sub-folders in alphabetical order, except ignored ones."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_left_aside(entry.name))


def class_folders(folder: Path) -> dict[str, Path]:
    """Find the folders of classes: sub-folders by the names of their classes, in alphabetical order.

    Names with the same Unicode normalisation (an accented letter as one character or as two) are one class.

    Raises:
        UserError: two folders have equal names after normalisation.
    """
    found: dict[str, Path] = {}
    for name in sub_folders(folder):
        shown = same_name(one_line(name))
        if shown in found:
            raise UserError(f"{folder} has two folders {shown!r} with different encodings of the same name: join them")
        found[shown] = folder / name
    return dict(sorted(found.items()))


def images_below(folder: Path, others: Counter[str] | None = None) -> list[str]:
    """List the images in a folder and its sub-folders.

    Args:
        folder: to search; links to folders are followed.
        others: counts the extensions of files that are not images.

    Returns:
        Their names, relative to the folder, with ``/`` between folders, in order.
    """
    found = []
    for place, name in _files(folder):
        if is_image(name):
            found.append((place / name).relative_to(folder).as_posix())
        elif others is not None:
            others[printable(Path(name).suffix.lower()) or "no ending"] += 1
    return sorted(found)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    entered = set()  # links may lead in a circle
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not is_left_aside(name)]
        here = os.path.realpath(place)
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        yield from ((Path(place), name) for name in files if not is_left_aside(name))


def others_said(others: Counter[str], folder: Path) -> str:
    """Describe the files that are not images, by their extensions."""
    kinds = listed([f"{count} {ending}" for ending, count in sorted(others.items())])
    return f"{folder}: {others.total()} files are not of an image type and were ignored ({kinds})"
