"""Process many files in threads."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["each"]

_LONG = 1000  # smallest number of files for which a progress bar is shown
_T = TypeVar("_T")


def each(work: Callable[..., _T], items: Sequence, workers: int, title: str) -> Iterator[_T]:
    """Apply a function to each item, in threads (Pillow releases the interpreter's lock).

    Args:
        work: function of one item.
        items: the items.
        workers: number of threads; with 0 or 1, no threads are used.
        title: title of the progress bar, which is shown on a terminal for many items.

    Yields:
        The result for each item, in order.
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
