"""The C library's allocator: what is freed is kept for the next tensor of that size."""

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_MOST = 1 << 30


def keep_freed_memory(most: int = _MOST) -> bool:
    """Let the C library hand out again what was freed, where it would give it back to the kernel.

    By default glibc maps every large block anew and unmaps it when it is freed. A training step frees and asks for the
    same sizes over and over, and the kernel clears each page every time: on the CPU up to half of a step
    (``benchmarks/kept_memory.py``). No number changes. Where the user has set the allocator up by ``MALLOC_...`` or
    ``GLIBC_TUNABLES``, or it is another one, nothing is done.

    Args:
        most: bytes of one block, or of unused memory at the end of the heap, above which it goes back all the same.

    Returns:
        Whether it was set.
    """
    chosen = any((name.startswith("MALLOC_") and name.endswith("_")) or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library without it
        return False
    return all(mallopt(name, most) == 1 for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
