"""A folder that one process at a time works in."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tl_lab.errors import UserError

__all__ = ["held"]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder while a block runs; the system lets go of it when the process ends, however it does.

    The folder itself is locked, so that no file is left in it. On file systems without locks nothing is held.

    Args:
        folder: it exists.

    Raises:
        UserError: another process holds it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot work in {str(folder)!r} ({(error.strerror or str(error)).lower()})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"another process is at work in {str(folder)!r}: wait until it has ended, or name another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(descriptor)
