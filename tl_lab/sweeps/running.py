"""Runs jobs in forked processes, several at a time, and records how each one ends."""

import contextlib
import functools
import gc
import importlib
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from tl_lab.sweeps.devices import free_place, gpu_at, gpus
from tl_lab.sweeps.jobs import Job
from tl_lab.sweeps.processes import Child, wait_for_any
from tl_lab.sweeps.progress import SweepProgress

__all__ = ["prepare", "run_jobs"]

_TICK_S = 1.0
"""Interval at which the progress is redrawn."""


def prepare(first: Job) -> None:
    """Import the modules that jobs need, once for all of them.

    Args:
        first: the first job; the classes that its configuration names are also imported.
    """
    from tl_lab.config import check, to_plain
    from tl_lab.results.folder.record import git_commit

    importlib.import_module("tl_lab.run.experiment")
    if (first.config.get("logger") or {}).get("mode", "disabled") != "disabled":
        with contextlib.suppress(ImportError):
            importlib.import_module("wandb.sdk.launch")  # imported by wandb.init, for more than a second
    with contextlib.suppress(Exception):  # the job itself will report the error
        check(to_plain(first.compose()))
    git_commit()


def run_jobs(
    jobs: Sequence[Job], at_once: int, progress: SweepProgress, timeout_s: float | None = None
) -> list[JobReturn]:
    """Run jobs, each in a separate process.

    Args:
        jobs: jobs in the order of their start.
        at_once: number of concurrent jobs.
        progress: receives each start and end.
        timeout_s: time limit of a job in seconds; a job that exceeds it is ended and counts as failed.

    Returns:
        The results of the jobs, in their order; None for failed ones.

    Raises:
        KeyboardInterrupt: after running jobs have written their results.
    """
    gc.freeze()  # otherwise, garbage collection in a child would copy every memory page of this process
    try:
        return _run(list(jobs), at_once, progress, timeout_s)
    finally:
        gc.unfreeze()


def _run(jobs: list[Job], at_once: int, progress: SweepProgress, timeout_s: float | None) -> list[JobReturn]:
    waiting, returned = list(jobs), dict[int, JobReturn]()
    running: dict[int, tuple[Job, Child]] = {}
    places: dict[int, int] = {}  # positions of the running jobs, which determine their GPUs
    names = gpus() if at_once > 1 else []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                places[job.number] = free_place(places.values())
                gpu = gpu_at(places[job.number], names)
                running[job.number] = job, Child(functools.partial(job.run, gpu=gpu))
                progress.started(job.number, job.name)
            wait_for_any([child for _, child in running.values()], _TICK_S)
            for number, (job, child) in list(running.items()):
                child.limit(timeout_s, "hydra.launcher.timeout")
                if child.ended():
                    returned[number] = _settle(job, child, progress)
                    del running[number], places[number]
            progress.refresh()
    except BaseException:
        for _, child in running.values():
            child.interrupt()
        for job, child in running.values():
            child.stop()
            _settle(job, child, progress)
        raise
    return [returned[job.number] for job in jobs]


def _settle(job: Job, child: Child, progress: SweepProgress) -> JobReturn:
    seconds = time.monotonic() - child.began
    message, value = child.message or {}, child.value or {}
    failure = value.get("error") or child.death
    content: dict[str, Any] = job.settle(message, failure, seconds, ended=bool(child.overdue))
    if message.get("note"):
        progress.note(f"job {job.number} {message['note']}")
    progress.other_code += bool(message.get("other_code"))
    progress.ended(job.number, job.name, bool(value.get("kept")), content, seconds)
    child.close()
    status, result = JobStatus.COMPLETED, value.get("value")  # a failed job is a row of the table, not an exception
    return JobReturn(
        overrides=list(job.overrides), working_dir=message.get("folder"), status=status, _return_value=result
    )
