"""Find the files of a kind in a folder; training and predictions use the same rules."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from tl_lab.data.inputs.decoding import IMAGE_TYPES
from tl_lab.data.inputs.dicom import DICOM_TYPES
from tl_lab.errors import UserError
from tl_lab.texts import counted, listed, one_line, printable, same_name

__all__ = [
    "class_folders",
    "describe_other_files",
    "files_below",
    "images_below",
    "is_image",
    "is_left_aside",
    "is_of_type",
    "sub_folders",
]

_IMAGES = IMAGE_TYPES | DICOM_TYPES
_NOT_DATA = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})


def is_left_aside(name: str) -> bool:
    """Whether a file or folder is ignored: hidden, or created by an operating system (``._a.jpg``, ``__MACOSX``)."""
    return name.startswith(".") or name in _NOT_DATA


def is_of_type(name: str, types: Collection[str]) -> bool:
    """Whether a file that is not ignored has one of the extensions, which are in lower case and have a dot."""
    return not is_left_aside(name) and Path(name).suffix.lower() in types


def is_image(name: str) -> bool:
    """Whether a file is an image, judged by its name."""
    return is_of_type(name, _IMAGES)


def sub_folders(folder: Path) -> list[str]:
    """List the names of the sub-folders in alphabetical order, without ignored ones."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_left_aside(entry.name))


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders by the names of their classes, in alphabetical order.

    The names of classes are normalised (Unicode has two encodings of an accented letter, as one or two characters).

    Raises:
        UserError: two folders have the same name after normalisation.
    """
    found: dict[str, Path] = {}
    for name in sub_folders(folder):
        shown = same_name(one_line(name))
        if shown in found:
            raise UserError(f"{folder} has two folders {shown!r} with different encodings of the same name: join them")
        found[shown] = folder / name
    return dict(sorted(found.items()))


def images_below(folder: Path, others: Counter[str] | None = None) -> list[str]:
    """List the images in a folder and its sub-folders (see :func:`files_below`)."""
    return files_below(folder, _IMAGES, others)


def files_below(folder: Path, types: Collection[str], others: Counter[str] | None = None) -> list[str]:
    """List the files with one of the extensions in a folder and its sub-folders.

    Args:
        folder: folder to search; links to folders are followed.
        types: extensions in lower case, with the dot.
        others: counter to which the extensions of other files are added.

    Returns:
        Names of the files, relative to the folder, with ``/`` between folders, sorted.
    """
    found = []
    for place, name in _files(folder):
        if is_of_type(name, types):
            found.append((place / name).relative_to(folder).as_posix())
        elif others is not None:
            others[printable(Path(name).suffix.lower()) or "no ending"] += 1
    return sorted(found)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    entered = set()  # links may form a cycle
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not is_left_aside(name)]
        here = os.path.realpath(place)
        if here in entered:
            folders.clear()
            continue
        entered.add(here)
        yield from ((Path(place), name) for name in files if not is_left_aside(name))


def describe_other_files(others: Counter[str], folder: Path, plural: str) -> str:
    """Describe the files that are not of the wanted kind (``images``), by their extensions."""
    kinds = listed([f"{count} {ending}" for ending, count in sorted(others.items())])
    return f"{folder}: ignored {counted(others.total(), 'file')} other than {plural} ({kinds})"
