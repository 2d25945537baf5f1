"""Update a run's ``results.json`` during the run."""

import contextlib
import functools
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tl_lab.errors import UserError, root_cause
from tl_lab.results.folder.files import RESULTS, SCHEMA, read_results, write_json

__all__ = ["Record", "git_commit", "machine"]

_OF_THE_CONFIGURATION = (
    "schema", "name", "seed", "threads", "config_hash", "comparison_key", "choices", "config_dirs",
)  # fmt: skip
_PACKAGES = ("tl_lab", "torch", "pytorch-lightning", "hydra-core", "torchmetrics", "torchvision", "timm", "numpy")


class Record:
    """The record of a run, which is written when the run starts, ends or fails.

    Args:
        folder: the run's folder.
        writes: whether this process writes the file; of several processes, only the first one does.
        resumed: whether to load the record of an interrupted run.
    """

    def __init__(self, folder: Path, writes: bool = True, resumed: bool = False) -> None:
        self.folder, self.writes, self._began = folder, writes, time.monotonic()
        self.content: dict[str, Any] = {"schema": SCHEMA}
        if resumed and (folder / RESULTS).exists():
            self.content = read_results(folder)
        self._spent_before = float(self.content.get("duration_s") or 0.0)

    @property
    def completed(self) -> bool:
        """Whether the run has completed."""
        return self.content.get("status") == "completed"

    def start(self, **facts: Any) -> None:
        """Record the start of the run, with versions, git commit and machine."""
        code = {"versions": dict(_versions()), "git_commit": git_commit()}
        here, earlier = machine(), self.content.get("machine")
        if earlier and not str(earlier).endswith(here):  # resumed elsewhere
            here = f"{earlier}, then {here}"
        self.update(status="running", error=None, **code, machine=here, **facts)

    def restart(self) -> None:
        """Discard what was recorded during training, because training starts again."""
        self.content = {name: value for name, value in self.content.items() if name in _OF_THE_CONFIGURATION}
        self._began, self._spent_before = time.monotonic(), 0.0
        self.start()

    def update(self, **facts: Any) -> None:
        """Add facts, and write the file; the duration does not include time after the end of the run."""
        if not self.completed or "status" in facts:
            self.content["duration_s"] = round(self._spent_before + time.monotonic() - self._began, 3)
        self.content.update(facts)
        if self.writes:
            write_json(self.folder / RESULTS, self.content)

    def complete(self, metrics: Mapping[str, float], **facts: Any) -> None:
        """Record the end of the run and the final metrics."""
        self.update(status="completed", error=None, metrics=dict(metrics), **facts)

    def fail(self, error: BaseException) -> None:
        """Record a failure: the message of a :class:`UserError`, or type, message and traceback of any other error."""
        cause = root_cause(error)
        facts: dict[str, Any] = {"status": "failed", "error": str(cause)}
        if not isinstance(cause, UserError):
            facts["error"] = f"{type(cause).__name__}: {cause}"
            facts["traceback"] = "".join(traceback.format_exception(error))
        with contextlib.suppress(Exception):  # a full disk may be the cause; the original error must be shown
            self.update(**facts)

    def died(self, reason: str, duration_s: float) -> None:
        """Record why a run's process ended, on behalf of a process that was killed."""
        self._began -= duration_s
        with contextlib.suppress(Exception):
            self.update(status="failed", error=reason)


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


@functools.cache  # the running code is the one that was imported
def git_commit() -> str | None:
    """Return the git commit of the code, with ``+changes`` if the working tree differs from it; None outside git."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5, check=True
        )
        status = ["git", "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(status, cwd=here, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


@functools.cache
def machine() -> str:
    """Return this machine's processor and its number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
