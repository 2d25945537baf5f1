"""Checks of the arguments of ``train.py`` before anything runs, and their conversion to arguments for Hydra."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tl_lab import commands
from tl_lab.cli import arguments
from tl_lab.cli.paths import require_folder
from tl_lab.config.debug import debugged
from tl_lab.config.stored import read_yaml
from tl_lab.errors import UserError

__all__ = ["FORKED", "Launch", "is_further_process", "prepare"]

FORKED = "hydra_plugins.tl_lab_forked.forked_launcher.ForkedLauncher"


@dataclass
class Launch:
    """State of one start of the program.

    Attributes:
        argv: arguments for Hydra.
        resume: folder of the run to resume.
        run: folder of a new run that is started alone.
        epochs: total number of epochs for a resumed run; None for the configured number.
        sweep: folder of the sweep, if there is one.
        launcher: class that starts the jobs of the sweep.
        resumes: whether the sweep is resumed with its missing or failed jobs.
        overrides: the given overrides.
        anew: overrides of a resumed run by key: ``changed_data`` and places of the data.
        folder: folder of the running job.
        failed: whether a job of this process ended in an error that has been reported.
    """

    argv: list[str]
    resume: Path | None = None
    run: Path | None = None
    epochs: int | None = None
    sweep: Path | None = None
    launcher: str = ""
    resumes: bool = False
    overrides: list[str] = field(default_factory=list)
    anew: dict[str, str] = field(default_factory=dict)
    folder: str | None = field(default=None, init=False)
    failed: bool = field(default=False, init=False)

    @property
    def forks(self) -> bool:
        """Whether the project's own launcher starts the jobs."""
        return self.launcher == FORKED


def prepare(given: list[str]) -> Launch:
    """Check the arguments and determine those for Hydra.

    Raises:
        UserError: an argument is wrong.
    """
    flags, overrides = arguments.split(given)
    if own := [text for text in overrides if text.lstrip("+").startswith(("assess=", "assess."))]:
        raise UserError(f"{own[0]!r} is not an option of a run: use {commands.command('assess', *overrides)}")
    overrides = debugged(overrides)
    # Hydra finds outside folders through the catalogue
    passed = [part for flag in flags if flag[0] not in arguments.CONFIG_DIR for part in flag if part is not None]
    if any(text in ("init_from=", "init_from=''", 'init_from=""') for text in overrides):
        raise UserError("init_from: the value is empty; give the folder of a run, or leave it out")
    resume = arguments.resumed_folder(overrides)
    if resume is not None:
        anew = {key: value for text in overrides for key, _, value in [text.partition("=")] if _given_anew(text)}
        epochs = [text for text in overrides if text.startswith("trainer.max_epochs=")]
        rest = [text for text in overrides if not _given_anew(text) and text not in epochs]
        arguments_of_resume = _resume_arguments(resume, passed, rest)
        return Launch(arguments_of_resume, resume=resume, epochs=_whole(epochs), anew=anew)
    names = {name for name, _ in flags}
    if names & arguments.UNCHECKED:
        return Launch([*passed, *overrides])
    checked = arguments.check(overrides, flags)
    if names & arguments.SHOWING:
        if checked.multirun:
            print("tl_lab: configuration of the first of several jobs:", file=sys.stderr, flush=True)
            shown = [text for text in passed if text not in arguments.MULTIRUN]
            return Launch([*shown, *checked.first])
        return Launch([*passed, *overrides])
    folder = Path(checked.folder)
    if checked.multirun:
        return _prepare_sweep(passed, overrides, checked)
    if (folder / "config.yaml").exists() and not is_further_process():
        raise UserError(
            f"hydra.run.dir: {str(folder)!r} contains an earlier run, which would be overwritten; resume it "
            f"by {shlex.quote(f'resume={folder}')}, or leave out hydra.run.dir to get a new folder"
        )
    _make(folder)
    if is_further_process():
        return Launch([*passed, *overrides])
    # the folder is fixed here, because composing again would read the clock again
    return Launch([*passed, *overrides, f"hydra.run.dir={arguments.quote(checked.folder)}"], run=folder)


def _prepare_sweep(passed: list[str], overrides: list[str], checked: arguments.Checked) -> Launch:
    """Choose the sweep's folder: a new one, ``hydra.sweep.dir``, or that of the last sweep with the same command."""
    from tl_lab.sweeps.folder import check_unchanged, last_sweep

    folder = Path(checked.folder)
    named = any(text.startswith("hydra.sweep.dir=") for text in overrides)
    if checked.resumes and not named:
        found = last_sweep(folder, overrides)
        print(
            f"tl_lab: resuming {found}" if found else "tl_lab: no earlier sweep with this command: starting a new one"
        )
        folder = found or folder
    used = any(folder.glob("*/config.yaml")) or any(folder.glob("trials/*/config.yaml"))
    if used and not checked.resumes:
        raise UserError(
            f"hydra.sweep.dir: {str(folder)!r} contains the runs of an earlier sweep, which would be overwritten; "
            f"resume it by sweep.resume=true, give another folder, or leave out hydra.sweep.dir to get a new one"
        )
    _make(folder)
    if checked.resumes and checked.launcher != FORKED:
        check_unchanged(folder, overrides)
    # sweep.resume is not passed on, because it is not a setting of the runs
    kept = [
        _of_each_job(text) if text in checked.of_jobs else text
        for text in overrides
        if not text.lstrip("+").startswith("sweep.resume=")
    ]
    own = [f"hydra.sweep.dir={arguments.quote(str(folder))}"]
    launch = Launch(
        [*passed, *kept, *own], sweep=folder, launcher=checked.launcher, resumes=checked.resumes, overrides=overrides
    )
    if "optuna" in checked.sweeper:
        if any(text.startswith("hydra.sweeper.direction=") and "minimize" in text for text in overrides):
            raise UserError(
                "hydra.sweeper.direction: objectives are always maximised (the sign of losses is inverted): leave "
                "out the direction"
            )
        launch.argv += ["hydra.sweeper.direction=maximize", "sweep.trial=true"]
    elif any(text.startswith("search=") for text in overrides):
        raise UserError(
            "search: a search space requires a search: add hydra/sweeper=optuna (tune finds its spaces itself)"
        )
    if launch.forks:
        launch.argv.append(f"hydra.launcher.resume={str(checked.resumes).lower()}")
    return launch


def _of_each_job(text: str) -> str:
    """Write an override as a sweep over one value, so that Hydra applies it to each job, not to their shared part."""
    key, _, value = text.partition("=")
    return f"{key}=choice({value or arguments.quote(value)})"


def _make(folder: Path) -> None:
    """Create the folder of the run or sweep, so that a write error is reported immediately."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {str(folder)!r} ({(error.strerror or str(error)).lower()}): start the program in another "
            "folder, or set TL_LAB_OUTPUTS or hydra.run.dir"
        ) from error


def _resume_arguments(folder: Path, passed: list[str], overrides: list[str]) -> list[str]:
    rest = [text for text in overrides if not text.startswith("resume=")]
    # Lightning passes Hydra's own options to the further processes of a distributed run
    if passed or (rest and not (is_further_process() and all(text.startswith("hydra.") for text in rest))):
        raise UserError(
            "resume: a resumed run takes its configuration from its folder, so only trainer.max_epochs, changed_data "
            f"and the place of the data (data.<option>) can be given with it, not {' '.join([*passed, *rest])}"
        )
    require_folder("resume", folder, "folder")
    if not (folder / "config.yaml").is_file():
        raise UserError(_without_config(folder))
    names = [text for text in rest if text.startswith("hydra.job.name=")]
    return [f"hydra.run.dir={arguments.quote(str(folder))}", "hydra.output_subdir=null", *names]


def _given_anew(text: str) -> bool:
    """Whether an override of the data's place, or of the action on changed data, which are allowed with ``resume=``."""
    key, equals, value = text.partition("=")
    return bool(equals and value) and (key == "changed_data" or key.startswith("data."))


def _without_config(folder: Path) -> str:
    """Return the error message for a folder without a configuration."""
    begun = folder / ".hydra" / "overrides.yaml"
    if not begun.is_file():
        return f"resume: {str(folder)!r} has no config.yaml; give a run's folder, such as outputs/runs/<name>/<time>"
    again = commands.train(*map(str, read_yaml(begun) or ()), f"hydra.run.dir={arguments.quote(str(folder))}")
    return f"resume: the run in {str(folder)!r} ended before training; start it again: {again}"


def _whole(texts: Sequence[str]) -> int | None:
    """Return N of the last ``trainer.max_epochs=N``; None without such an override."""
    if not texts:
        return None
    value = texts[-1].partition("=")[2]
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"trainer.max_epochs must be a whole number of at least 1, not {value!r}")
    return int(value)


def is_further_process() -> bool:
    """Whether this is a further process of a distributed run, which shares the folder of the first process."""
    return os.environ.get("LOCAL_RANK", "0") != "0"
