"""Work on many files, by threads."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["each"]

_LONG = 1000  # files from which on a progress bar is worth its lines
_T = TypeVar("_T")


def each(work: Callable[..., _T], items: Sequence, workers: int, title: str) -> Iterator[_T]:
    """Do the work for each item, in order, with threads (Pillow decodes outside the interpreter's lock).

    Args:
        work: on one item.
        items: what is worked on.
        workers: threads; 0 or 1 for none.
        title: of the progress bar, which long work shows on a screen.

    Yields:
        The result for each item.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            results = pool.map(work, items) if workers > 1 else map(work, items)
            if len(items) >= _LONG and sys.stderr.isatty():
                from rich.console import Console
                from rich.progress import track

                results = iter(track(results, title, total=len(items), console=Console(stderr=True), transient=True))
            yield from results
        finally:
            pool.shutdown(cancel_futures=True)
