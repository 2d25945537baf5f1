"""``hydra/launcher=forked``: each job of a sweep in a process of its own, forked from one that has the imports."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class ForkedLauncher(Launcher):
    """Run jobs in forked processes; one that dies is one failed run.

    Args:
        jobs: how many run at the same time, >= 1.
        resume: keep what the sweep's folder holds of the same configurations, and run the rest.
        timeout: seconds that a job may take; one that takes longer is ended and counts as failed. None: any time.
    """

    def __init__(self, jobs: int = 1, resume: bool = False, timeout: float | None = None) -> None:
        self.jobs, self.resume, self.timeout, self.expected = jobs, resume, timeout, 0
        self.progress: Any = None
        self.shared: set[str] = set()
        self.judged = False
        self.earlier: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs; a sweeper may ask for several, one after the other.

        Args:
            job_overrides: of each job.
            initial_job_idx: number of the first.

        Returns:
            What each job returned, in their order; None for one that failed.
        """
        # here and not above: Hydra imports this file to answer --help, too
        from tl_lab.sweeps.folder import earlier_runs
        from tl_lab.sweeps.jobs import Job
        from tl_lab.sweeps.progress import SweepProgress
        from tl_lab.sweeps.running import prepare, run_jobs

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        begins = self.progress is None
        if begins:
            self.progress = SweepProgress(self.jobs)
            self.earlier = earlier_runs(Path(str(self.config.hydra.sweep.dir))) if self.resume else None
        if len(job_overrides) > 1:  # a last batch of one job does not tell what it shares with the others
            self.shared = set.intersection(*map(set, job_overrides))
        jobs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            own = [text for text in overrides if text not in self.shared and not text.startswith(("hydra.", "sweep."))]
            name = " ".join(own) or "as configured"
            jobs.append(Job(number, overrides, name, self.context, self.task, self.config, self.earlier))
        if begins:
            prepare(jobs[0])
        trials = self.config.hydra.sweeper.get("n_trials") or 0
        ends = initial_job_idx + len(jobs)
        self.progress.start(
            total=max(self.expected, trials, ends),
            searches=bool(trials) or any("hydra.sweep.subdir=trials/" in text for text in job_overrides[0]),
        )
        try:
            returned = run_jobs(jobs, self.jobs, self.progress, self.timeout)
        finally:
            self.progress.stop()
        if trials:
            self._judge(returned, last=ends >= trials)
        return returned

    def _judge(self, returned: Sequence[JobReturn], last: bool) -> None:
        """Give trials without an objective the least one: Hydra's optuna sweeper ends without its results where the
        trial that exhausts a grid has none."""
        self.judged = self.judged or any(job.return_value is not None for job in returned)
        if last and not self.judged:
            print("tl_lab: no trial has an objective, so that nothing can be chosen", file=sys.stderr)
            sys.exit(1)
        for job in returned:
            if job.return_value is None:
                job.return_value = float("-inf")
