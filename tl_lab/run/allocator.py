"""The C library's allocator: keep freed memory for the next tensor of the same size."""

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
_MOST = 1 << 30


def keep_freed_memory(most: int = _MOST) -> bool:
    """Let the C library reuse freed memory instead of returning it to the kernel.

    By default, glibc maps every large block anew and unmaps it when it is freed. A training step frees and allocates
    the same sizes repeatedly, and the kernel clears each page every time: on the CPU, up to half of the time of a step
    (``benchmarks/kept_memory.py``). Results do not change. Nothing is done if the user has configured the allocator by
    ``MALLOC_...`` or ``GLIBC_TUNABLES``, or if it is another one.

    Args:
        most: size in bytes of a block, or of unused memory at the end of the heap, above which memory is returned.

    Returns:
        Whether the allocator was configured.
    """
    chosen = any((name.startswith("MALLOC_") and name.endswith("_")) or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library without mallopt
        return False
    return all(mallopt(name, most) == 1 for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
