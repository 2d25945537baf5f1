"""Find the folders of data sets, and report missing ones."""

import os
import re
from pathlib import Path

from tl_lab.errors import UserError

__all__ = ["ROOT_VARIABLE", "absolute_places", "find_root", "missing", "places_of"]

_STATED = re.compile(r"^# Terms: (?P<title>[^:(]+) \((?P<publisher>[^()]+)\): ", re.MULTILINE)
ROOT_VARIABLE = "TL_LAB_DATA"
"""Environment variable with the path of the folder that holds the data sets."""


def find_root(root: str | Path | None, name: str, how_to_get: str, create: bool = False) -> Path:
    """Find the folder that holds the data sets.

    Args:
        root: the folder, ``~`` allowed; None to take it from the environment variable ``TL_LAB_DATA``.
        name: name of the required data set, for the message.
        how_to_get: how to get that data set, in the imperative, for the message.
        create: whether to create the folder if it does not exist (for downloads).

    Returns:
        The absolute path of an existing folder.

    Raises:
        UserError: neither ``root`` nor the variable is set, or the folder does not exist.
    """
    given = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
    if given is None:
        raise UserError(
            f"{name} was not found: neither data.root nor the environment variable {ROOT_VARIABLE} names the "
            f"folder with the data sets; {_publisher(name)}set one of them, and {how_to_get}"
        )
    folder = Path(given).expanduser().absolute()
    if create:
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        origin = "data.root" if root is not None else f"the environment variable {ROOT_VARIABLE}"
        raise UserError(
            f"{name} was not found: {origin} names {folder}, which is not a folder; {_publisher(name)}{how_to_get}"
        )
    return folder


def missing(name: str, root: Path | str, how_to_get: str) -> UserError:
    """Build the error for a missing data set.

    Args:
        name: name of the data set.
        root: expected file or folder.
        how_to_get: how to get it, in the imperative.

    Returns:
        The error, to be raised.
    """
    return UserError(
        f"{name} was not found: looked for {root} (the folder of data sets is data.root, or the environment "
        f"variable {ROOT_VARIABLE}); {_publisher(name)}to get it, {how_to_get}"
    )


def _publisher(name: str) -> str:
    """Say who published a data set, as the terms in the header of its choice do; empty if they do not."""
    from tl_lab.config.catalogue import choices

    for file in choices("data")["data"].values():
        stated = _STATED.search(file.read_text(encoding="utf-8"))
        if stated and stated["title"].startswith(name.partition(" (")[0]):
            return f"it is published by {stated['publisher']}; "
    return ""


def places_of(path: str | Path) -> list[Path]:
    """List the candidates for a path: the path itself and, if it is relative, the same path in the data folder.

    Args:
        path: absolute, or relative to the current folder or to ``TL_LAB_DATA``; ``~`` allowed.

    Returns:
        One or two absolute paths, which may not exist.
    """
    given = Path(path).expanduser()
    places = [given.absolute()]
    if (data := os.environ.get(ROOT_VARIABLE)) and not given.is_absolute():
        places.append(Path(data).expanduser().absolute() / given)
    return places


def absolute_places(given: object) -> str | list[str] | None:
    """Convert the folders or files of an option to absolute paths.

    Args:
        given: a path, a list of paths, or None for the folder of data sets.

    Returns:
        For each path, the first candidate that exists, or else the first candidate; None if ``given`` is None and
        ``TL_LAB_DATA`` is not set.
    """
    if isinstance(given, list | tuple):
        return [str(absolute_places(one)) for one in given]
    if given is None:
        data = os.environ.get(ROOT_VARIABLE)
        return str(Path(data).expanduser().absolute()) if data else None
    places = places_of(str(given))
    return str(next((place for place in places if place.exists()), places[0]))
