"""The end of a sweep: writes its report and lists failed jobs."""

import contextlib
import shlex
import sys
from pathlib import Path

from tl_lab import commands
from tl_lab.sweeps.folder import runs_of
from tl_lab.sweeps.jobs import read_settled

__all__ = ["finish"]


def _discard(folder: Path) -> None:
    """Remove the folder of a sweep that was refused before any of its jobs started."""
    for name in (".lock", "sweep.json", "multirun.yaml"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the folder is not empty
        folder.rmdir()


def finish(folder: Path) -> bool:
    """Write the sweep's report, and return whether all of its jobs completed, including those of other processes."""
    jobs = sorted(runs_of(folder), key=lambda job: (len(job.name), job.name))
    if not jobs:
        _discard(folder)
        return False
    failed = [job for job in jobs if read_settled(job).get("status") != "completed"]
    # a search keeps its trials separate from its final runs
    parts = [part for name in ("trials", "final") if (part := folder / name).is_dir()] or [folder]
    try:
        from tl_lab.results.report.writing import show_summary, write_report

        for part in parts:
            report = write_report(part)
            if part == parts[-1]:
                show_summary(part)
                print()
            print(f"report: {report.with_name('report.html')}")
    except Exception as error:
        print(f"\nthe report could not be written ({error}); the results of the runs are not affected", file=sys.stderr)
        print(f"try again: {commands.command('report', *map(str, parts))}", file=sys.stderr)
    last = parts[-1]
    if len(failed) < len(jobs) and not any(last.glob("*/figures")):
        print(f"figures of each run: {commands.command('figures', str(last))}")
    if any(last.glob("*/wandb/offline-run-*")):
        print(f"to upload to W&B when online: wandb sync {shlex.quote(str(last))}/*/wandb/offline-run-*")
    if failed:
        names = ", ".join(str(job) for job in failed)
        print(f"tl_lab: {len(failed)} of {len(jobs)} jobs failed: {names}", file=sys.stderr)
    return not failed
