"""Runs a job in a separate process of an engine's worker (joblib, submitit), since each worker runs many jobs."""

import time
from collections.abc import Callable
from pathlib import Path

from tl_lab.sweeps.jobs import OUTPUT, redirect, settle
from tl_lab.sweeps.processes import Child, wait_for_any
from tl_lab.sweeps.progress import outcome_of

__all__ = ["run_apart"]


def run_apart(function: Callable[[], float | None], folder: Path) -> float | None:
    """Run a job in a forked process; a crash is recorded in the job's folder and does not end this process.

    Args:
        function: the job.
        folder: folder of the job; it must exist.

    Returns:
        The return value of the function; None if it failed.
    """

    def run() -> float | None:
        redirect(folder / OUTPUT)
        return function()

    child = Child(lambda tell: run())
    try:
        while not child.ended():
            wait_for_any([child], 1.0)
    except BaseException:
        child.interrupt()
        child.stop()
        raise
    finally:
        seconds = time.monotonic() - child.began
        content = settle(folder, child.death, seconds)
    print(f"{folder}: {outcome_of(content, seconds)}", flush=True)
    value: float | None = child.value
    child.close()
    return value if content.get("status") == "completed" else None
