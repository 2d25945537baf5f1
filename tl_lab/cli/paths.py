"""Paths given to commands: they exist, or the message suggests similar ones."""

import contextlib
from difflib import get_close_matches
from pathlib import Path

from tl_lab.errors import UserError

__all__ = ["require", "require_folder"]


def _nearby(path: Path, folders: bool = False) -> str:
    """Suggest paths with names similar to one that does not exist, as the end of a sentence.

    Args:
        path: as given by the user.
        folders: whether to suggest only folders.
    """
    with contextlib.suppress(OSError):
        others = [other.name for other in path.parent.iterdir() if other.is_dir() or not folders]
        close = get_close_matches(path.name, [name for name in others if name != path.name], n=2)
        if close:
            return "; did you mean " + " or ".join(repr(str(path.parent / name)) for name in close) + "?"
    return ""


def require_folder(command: str, folder: Path, what: str = "run folder") -> None:
    """Reject a path that is not a folder.

    Args:
        command: name of the command, for the message.
        folder: as given by the user.
        what: description of the folder.

    Raises:
        UserError: there is no such folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{command}: {str(folder)!r} is a file: give a {what}")
    if not folder.is_dir():
        raise UserError(f"{command}: there is no {what} {str(folder)!r}{_nearby(folder, folders=True)}")


def require(command: str, path: Path, what: str = "folder or file") -> None:
    """Reject a path that does not exist; see :func:`require_folder`."""
    if not path.exists():
        raise UserError(f"{command}: there is no {what} {str(path)!r}{_nearby(path)}")
