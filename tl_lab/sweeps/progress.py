"""Progress of a sweep: a bar on a terminal, one line per job in a log."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tl_lab.results.kinds import leading
from tl_lab.results.names import duration, format_metric, is_share, split_name

__all__ = ["SweepProgress", "outcome_of"]


class SweepProgress:
    """Count a sweep's jobs and report their ends.

    The bar is drawn by this thread, because a separate thread would not survive the forks.

    Args:
        at_once: number of concurrent jobs.
    """

    def __init__(self, at_once: int) -> None:
        self.total = self.done = self.failed = self.other_code = 0
        self.at_once, self.searches, self.running = at_once, False, dict[int, str]()
        self._durations: list[float] = []
        self._live: Any = None

    def start(self, total: int, searches: bool = False) -> None:
        """Start a batch of jobs.

        Args:
            total: number of the sweep's jobs, including earlier batches.
            searches: whether jobs are trials of a search; their objective is shown instead of a test metric, which must
                not be used to choose settings.
        """
        self.total, self.searches = total, searches
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            # a separate console: the shared one of rich caches its first detection of the terminal
            self._live = Live(
                console=Console(), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()

    def started(self, job: int, name: str) -> None:
        """Record the start of a job."""
        self.running[job] = name
        self.refresh()

    def ended(self, job: int, name: str, kept: bool, content: Mapping[str, Any], seconds: float) -> None:
        """Record the end of a job, and print its line."""
        self.running.pop(job, None)
        self.done += 1
        self.failed += content.get("status") != "completed"
        if not kept:
            self._durations.append(seconds)
        shown = (str(content.get("objective_metric")),) if self.searches else None
        outcome = outcome_of(content, shown=shown) + "  kept" if kept else outcome_of(content, seconds, shown)
        self._print(f"job {job}: {name}  {outcome}  ({self.summary()})")
        self.refresh()

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._print(text)

    def summary(self) -> str:
        """Summarise the state of the sweep: ``4 of 12 done, 1 failed, 2 running, 3 min 5 s left``."""
        words = [f"{self.done} of {self.total} done"]
        words += [
            f"{number} {name}" for name, number in (("failed", self.failed), ("running", len(self.running))) if number
        ]
        remaining = self.total - self.done
        if self._durations and remaining:
            mean = sum(self._durations) / len(self._durations)
            words.append(f"{duration(mean * remaining / min(self.at_once, remaining))} left")
        return ", ".join(words)

    def refresh(self) -> None:
        """Redraw the bar, on a terminal."""
        if self._live is None:
            return
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=max(self.total, 1), completed=self.done, width=30), self.summary())
        grid = Table.grid()
        grid.add_row(row)
        for job, name in sorted(self.running.items()):
            grid.add_row(Text(f"  job {job}: {name}", style="dim", overflow="ellipsis", no_wrap=True))
        self._live.update(grid, refresh=True)

    def stop(self) -> None:
        """End a batch: remove the bar, and print notes on the results."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self.other_code:
            runs = "1 kept run is" if self.other_code == 1 else f"{self.other_code} kept runs are"
            self._print(f"tl_lab: {runs} from another code version (git_commit in results.csv)")
        self.other_code = 0

    def _print(self, text: str) -> None:
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(text), soft_wrap=True)
            return
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def outcome_of(content: Mapping[str, Any], seconds: float | None = None, shown: Sequence[str] | None = None) -> str:
    """Describe the end of a job: its status, its main metric or the reason for its failure, and its duration."""
    words, shown = [str(content.get("status"))], _main() if shown is None else shown
    metrics = content.get("metrics") or {}
    if content.get("status") != "completed":
        words += str(content.get("error") or "").splitlines()[:1]
    elif (name := next((name for name in shown if metrics.get(name) is not None), None)) is not None:
        words.append(f"{name} {format_metric(name, metrics[name])}{' %' if is_share(split_name(name).metric) else ''}")
    return "  ".join(words if seconds is None else [*words, duration(seconds)])


def _main() -> list[str]:
    """List the main metrics, those of the target's test set first."""
    return [f"{where}/{metric}" for where in ("test/target", "test", "val") for metric in leading()]
