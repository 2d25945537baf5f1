"""Measure how long training waits for its batches."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Waiting", "advised_workers", "is_large", "per_cent"]

_T = TypeVar("_T")
_BOUND = 0.1  # smallest share of waiting time for which more workers are suggested


class Waiting:
    """Accumulates the time that training waits for batches, and the total time of its passes over the data.

    Args:
        clock: returns the current time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds = self.of_seconds = 0.0
        self._passes, self._began = 0, 0.0  # the two loaders of a pair overlap

    def timed(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Yield the batches, and record the time waited for each."""
        if self._passes == 0:
            self._began = self._clock()
        self._passes += 1
        try:
            asked = self._clock()
            for batch in batches:
                self.seconds += self._clock() - asked
                yield batch
                asked = self._clock()
            self.seconds += self._clock() - asked
        finally:
            self._passes -= 1
            if self._passes == 0:
                self.of_seconds += self._clock() - self._began

    @property
    def share(self) -> float | None:
        """Share of the time spent waiting, in [0, 1]; None if nothing was read."""
        return None if self.of_seconds <= 0 else min(1.0, self.seconds / self.of_seconds)

    def report(self, workers: int, cores: int) -> str:
        """Report the share, with advice on the number of workers.

        Args:
            workers: number of reading processes.
            cores: number of cores available to this process.

        Returns:
            A sentence; empty if nothing was read.
        """
        if self.share is None:
            return ""
        text = f"data-bound: training waited for data {per_cent(self.share)} of its time"
        more = advised_workers(self.share, workers, cores)
        if more is not None:
            return f"{text}; try data.workers={more}"
        return (
            f"{text}; there are already as many workers as cores ({cores})"
            if is_large(self.share) and workers >= cores
            else text
        )


def is_large(share: float) -> bool:
    """Whether training waited long enough that advice is useful."""
    return share >= _BOUND


def per_cent(share: float) -> str:
    """Format a share: ``3 %``."""
    return f"{100 * share:.0f} %"


def advised_workers(share: float, workers: int, cores: int) -> int | None:
    """Estimate how many workers are needed to read as fast as training computes.

    Let T be the time per batch with ``w`` workers (or with the main process alone). Training computes for
    (1 - share) T of it. Reading takes share T in the main process, or w T of the workers' time.

    Args:
        share: share of the time spent waiting, in [0, 1].
        workers: number of reading processes.
        cores: largest useful number.

    Returns:
        The number; None if there was little waiting, or more workers would not help.
    """
    if not is_large(share):
        return None
    computing = max(1 - share, 1e-3)
    needed = math.ceil((workers if workers else share) / computing)
    advised = min(max(needed, workers + 1), cores)
    return advised if advised > workers else None
