"""A switch that permits data sets whose labels are all the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["one_class_allowed", "one_class_refused"]

_ALLOWED: ContextVar[bool] = ContextVar("one class allowed", default=False)


def one_class_refused() -> bool:
    """Whether constant training labels are an error (the default)."""
    return not _ALLOWED.get()


@contextmanager
def one_class_allowed() -> Iterator[None]:
    """Permit data of a single class within the block, for analyses that use only the inputs."""
    before = _ALLOWED.set(True)
    try:
        yield
    finally:
        _ALLOWED.reset(before)
