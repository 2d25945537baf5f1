"""One job of a sweep: composing its configuration, matching earlier runs, running, and recording the result."""

import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from tl_lab.config import config_hash, to_plain
from tl_lab.errors import UserError, root_cause
from tl_lab.results.folder.files import RESULTS, read_results, write_text
from tl_lab.results.folder.record import Record, git_commit
from tl_lab.sweeps.devices import takes_one_gpu
from tl_lab.sweeps.folder import Earlier, pick

__all__ = ["OUTPUT", "Job", "read_settled", "redirect", "settle"]

OUTPUT = "output.txt"
"""File in the job's folder with its screen output."""


@dataclass(frozen=True)
class Job:
    """A job to run.

    Attributes:
        number: position of the job in the sweep.
        overrides: overrides of the job.
        name: the overrides that differ between jobs.
        context: Hydra's context.
        task: function that runs the composed configuration.
        config: the sweep's configuration.
        earlier: runs in the sweep's folder by hash, for a resumed sweep; None for a new one.
    """

    number: int
    overrides: Sequence[str]
    name: str
    context: HydraContext
    task: TaskFunction
    config: DictConfig
    earlier: Mapping[str, Sequence[Earlier]] | None = None

    def run(self, tell: Callable[[Any], None], gpu: str | None = None) -> dict[str, Any]:
        """Run the job in this process, which serves no other purpose; its output goes to the job's folder.

        Args:
            tell: function that is called before the job runs, with ``folder``, ``note`` (possibly empty) and ``facts``,
                which are written to ``results.json`` if the job dies before it has written anything.
            gpu: the GPU of a job that uses one GPU, in the format of ``CUDA_VISIBLE_DEVICES``; None for all GPUs.

        Returns:
            ``value`` for the sweeper, ``kept`` if an earlier run replaces this one, or ``error``.
        """
        try:
            config = self.compose()
            plain = to_plain(config)
            if gpu is not None and takes_one_gpu(plain["trainer"]):
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            identity = config_hash(plain)
            own = Path(str(OmegaConf.select(config, "hydra.sweep.dir"))) / str(config.hydra.sweep.subdir)
            found = None if self.earlier is None else pick(self.earlier.get(identity, ()), plain, own)
            restarts = config.get("changed_data") == "restart"  # the run itself checks whether the data have changed
            if found is not None and found.status == "completed" and not restarts:
                tell({"folder": str(found.folder), "other_code": found.commit != git_commit()})
                return {"value": found.objective, "kept": True}
            folder, note = self._place(config, found)
        except Exception as error:
            return {"error": str(root_cause(error)).strip() or type(error).__name__}
        tell({"folder": str(folder), "note": note, "facts": {"config_hash": identity, "seed": config.seed}})
        folder.mkdir(parents=True, exist_ok=True)
        redirect(folder / OUTPUT)
        try:
            result = run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            return {"value": result.return_value}
        except Exception as error:  # for example a full disk, since Hydra also writes files
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}

    def compose(self) -> DictConfig:
        """Compose the job's configuration, including Hydra's own part."""
        config = self.context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        return config

    def _place(self, config: DictConfig, found: Earlier | None) -> tuple[Path, str]:
        """Choose the job's folder, either that of its unfinished run or an unused one, and a note for the user."""
        root = Path(str(OmegaConf.select(config, "hydra.sweep.dir")))
        subdir, note = str(OmegaConf.select(config, "hydra.sweep.subdir")), ""
        if found is not None:
            subdir, note = os.path.relpath(found.folder, root), "runs again"
            if found.trained and found.commit == git_commit():
                note = "resumes from its checkpoint"
            elif found.trained:
                note = f"restarts: its checkpoint is from another code version ({_short(found.commit)})"
                shutil.rmtree(found.folder / "checkpoints", ignore_errors=True)
            with read_write(config.hydra):
                config.resume, config.hydra.output_subdir = str(found.folder), None
        elif (root / subdir / RESULTS).exists() or (root / subdir / "config.yaml").exists():
            first, number = subdir, 2
            while (root / (subdir := f"{first}-{number}")).exists():
                number += 1
            note = f"runs in {subdir}: {first} contains another configuration"
        with read_write(config.hydra):
            config.hydra.sweep.subdir = subdir
        HydraConfig.instance().set_config(config)
        return root / subdir, note

    def _asked_for(self) -> str:
        """Return the folder that the overrides name, for a job that could not be composed."""
        key = "hydra.sweep.subdir="
        return next((text.removeprefix(key) for text in self.overrides if text.startswith(key)), str(self.number))

    def settle(
        self, message: Mapping[str, Any], failure: str | None, seconds: float, ended: bool = False
    ) -> dict[str, Any]:
        """Read the results of the job; record what it could not record itself, such as its end.

        Args:
            message: the message of :meth:`run`; empty if it sent none.
            failure: description of an abnormal end.
            seconds: lifetime of the process.
            ended: whether the sweep has ended the job, which overrides the job's own record.

        Returns:
            The content of ``results.json``.
        """
        if message:
            folder = Path(message["folder"])
        else:
            folder = Path(str(self.config.hydra.sweep.dir)) / self._asked_for()
            if folder.exists():  # written by an earlier start of the sweep, whose content is kept
                return {"status": "failed", "error": failure}
            write_text(folder / ".hydra" / "overrides.yaml", OmegaConf.to_yaml(list(self.overrides)))
        return settle(folder, failure, seconds, message.get("facts") or {}, ended)


def settle(
    folder: Path,
    failure: str | None,
    seconds: float,
    facts: Mapping[str, Any] | None = None,
    ended: bool = False,
) -> dict[str, Any]:
    """Read the results of a run; record its end if the run could not do so itself.

    Args:
        folder: folder of the run.
        failure: description of an abnormal end.
        seconds: lifetime of its process.
        facts: known facts, written if the run itself wrote nothing.
        ended: whether the run was ended from outside; ``failure`` then replaces the end that the run has recorded.

    Returns:
        The content of ``results.json``.
    """
    content = read_settled(folder)
    if content.get("status") == "completed" or (content.get("status") == "failed" and not ended):
        return content
    record = Record(folder, resumed=bool(content))
    record.content = {**(facts or {}), **record.content}
    known = 0.0 if content.get("status") == "failed" else seconds  # already counted by its own record
    record.died(failure or _last_line(folder / OUTPUT) or "the job ended without a message", known)
    return record.content


def read_settled(folder: Path) -> dict[str, Any]:
    """Read a run's results; return an empty dict if they are missing or cannot be read."""
    try:
        return read_results(folder)
    except UserError:
        return {}


def _short(commit: str | None) -> str:
    return "unknown" if commit is None else commit[:10] + ("+changes" if commit.endswith("+changes") else "")


def _last_line(file: Path) -> str:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def redirect(file: Path) -> None:
    """Redirect all output of this process to a file."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
