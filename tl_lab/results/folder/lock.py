"""Lock a folder, so that one process at a time works in it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tl_lab.errors import UserError

__all__ = ["held"]

_held: dict[tuple[int, int], int] = {}  # device and inode of the folders that this process has locked: descriptor


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a run's folder during a block; the system releases the lock when the process ends, even if it is killed.

    Forked processes do not hold the lock, because workers may outlive a killed run by seconds and would block other
    processes.

    The folder itself is locked, so that no lock file remains. On file systems without locks, nothing is locked. Within
    the block, the same process may lock the folder again.

    Args:
        folder: an existing folder.

    Raises:
        UserError: another process has locked it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot work in {str(folder)!r} ({(error.strerror or str(error)).lower()})") from error
    place = os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino
    if place in _held:
        os.close(descriptor)
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another process is working in {str(folder)!r}: wait until it has ended, or choose another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    _held[place] = descriptor
    try:
        yield
    finally:
        if _held.pop(place, None) is not None:
            os.close(descriptor)


def _let_go() -> None:
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
