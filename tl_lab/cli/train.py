"""The command line of ``train.py``: checked before anything runs, with one sentence per mistake.

Sequence: read the arguments, compose once to find mistakes, then call Hydra, which composes
again and calls the job, once or (``-m``) for every combination.
"""

import contextlib
import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab import commands
from tl_lab.cli import arguments
from tl_lab.cli.terminal import prepare_terminal
from tl_lab.config import conf_dir, config_hash
from tl_lab.config.catalogue import importable, using
from tl_lab.config.instantiate import foreign
from tl_lab.config.stored import read_stored, read_yaml, texts_in
from tl_lab.config.trust import check_foreign
from tl_lab.errors import UserError
from tl_lab.importing import import_heavy

__all__ = ["Launch", "carry_out", "main", "prepare", "user_error"]

_TINY = {
    "trainer.max_epochs": "1",
    "trainer.limit_train_batches": "2",
    "trainer.limit_val_batches": "2",
    "trainer.limit_test_batches": "2",
    "figures": "true",
    "logger.mode": "disabled",
}
"""Settings of ``debug=true``."""
_PATIENCE_S = 10.0
_DIES_WITH = "TL_LAB_DIES_WITH"  # environment variable with the process that started this one
_FORKED = "hydra_plugins.tl_lab_forked.forked_launcher.ForkedLauncher"


@dataclass
class Launch:
    """State of one start of the program.

    Attributes:
        argv: arguments for Hydra.
        resume: folder of the run to resume.
        epochs: total number of epochs for a resumed run; None for the configured number.
        sweep: folder of the sweep, if there is one.
        launcher: of the sweep: the class that starts its jobs.
        resumes: whether the sweep resumes with missing or failed jobs.
        overrides: as given.
        anew: for a resumed run: ``changed_data`` and folders of data, by key.
        folder: of the running job.
        failed: whether a job of this process ended in an error that has been reported.
    """

    argv: list[str]
    resume: Path | None = None
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
        return self.launcher == _FORKED


def main(argv: Sequence[str] | None = None) -> None:
    """Execute the command line; a failure ends the process with exit code 1.

    Args:
        argv: arguments; ``None`` for those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    _die_with_the_sweep()
    try:
        prepare_terminal(given)
        with using(arguments.config_dirs(given)):
            _main(given)
    except UserError as error:
        sys.exit(_say(error))


def _main(given: list[str]) -> None:
    from tl_lab.config.natural import composing_once

    with composing_once():  # Hydra composes again, twice
        launch = prepare(given)
        if launch.sweep is None:
            _start(launch)
            return
    _start(launch)  # outside, because each job of a sweep has its own configuration


def _start(launch: Launch) -> None:
    """Call Hydra, and end the process with exit code 1 after a failure."""
    original = list(sys.argv)

    def job(cfg: DictConfig) -> float | None:
        # Lightning starts the other processes of a distributed run with this process's own arguments
        sys.argv[:] = original
        return _run_job(cfg, launch)

    sys.argv[1:] = launch.argv
    try:
        with _claimed(launch):
            try:
                _run_hydra(job)
            except SystemExit as end:  # Hydra has printed the reason; finished jobs are reported nevertheless
                if launch.sweep is None or end.code == 0:
                    raise
                launch.failed = True
            if launch.sweep is not None:
                launch.failed |= not _finish_sweep(launch.sweep)
    except KeyboardInterrupt:
        _say_interrupted(launch)
        sys.exit(130)
    finally:
        sys.argv[:] = original
    if launch.failed:
        sys.exit(1)


def _run_hydra(job: Callable[[DictConfig], float | None]) -> None:
    import hydra

    from tl_lab.config.natural import install

    install()
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()


def _claimed(launch: Launch) -> contextlib.AbstractContextManager[Any]:
    """Lock the sweep's folder while its jobs run."""
    if launch.sweep is None:
        return contextlib.nullcontext()
    from tl_lab.sweeps.folder import claim

    return claim(launch.sweep, launch.overrides)


def prepare(given: list[str]) -> Launch:
    """Check the arguments and determine those for Hydra.

    Raises:
        UserError: an argument is wrong.
    """
    flags, overrides = arguments.split(given)
    if own := [text for text in overrides if text.lstrip("+").startswith(("assess=", "assess."))]:
        raise UserError(f"{own[0]!r} is not an option of a run: {commands.command('assess', *overrides)} assesses")
    overrides = _debugged(overrides)
    # Hydra finds outside folders through the catalogue
    passed = [part for flag in flags if flag[0] not in arguments.CONFIG_DIR for part in flag if part is not None]
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
            print("tl_lab: the first of several jobs:", file=sys.stderr, flush=True)
            shown = [text for text in passed if text not in arguments.MULTIRUN]
            return Launch([*shown, *checked.first])
        return Launch([*passed, *overrides])
    folder = Path(checked.folder)
    if checked.multirun:
        return _prepare_sweep(passed, overrides, checked)
    if (folder / "config.yaml").exists() and not _is_child():
        raise UserError(
            f"hydra.run.dir: {str(folder)!r} contains an earlier run, which would be overwritten; resume it "
            f"by {shlex.quote(f'resume={folder}')}, or leave hydra.run.dir out to get a new folder"
        )
    _make(folder)
    if _is_child():
        return Launch([*passed, *overrides])
    # fixed: composing again would read the clock again
    return Launch([*passed, *overrides, f"hydra.run.dir={arguments.quote(checked.folder)}"])


def _prepare_sweep(passed: list[str], overrides: list[str], checked: arguments.Checked) -> Launch:
    """Choose the sweep's folder: a new one, that of hydra.sweep.dir, or of the last sweep with the same command."""
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
            f"resume it by sweep.resume=true, name another folder, or leave hydra.sweep.dir out to get a new one"
        )
    _make(folder)
    if checked.resumes and checked.launcher != _FORKED:
        check_unchanged(folder, overrides)
    # not part of a run's configuration: whether the sweep was resumed is not a setting of its runs
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
                "hydra.sweeper.direction: a larger objective is better (losses change their sign), so "
                "it is maximised: leave the direction out"
            )
        launch.argv += ["hydra.sweeper.direction=maximize", "sweep.trial=true"]
    elif any(text.startswith("search=") for text in overrides):
        raise UserError(
            "search: a search space needs a search: add hydra/sweeper=optuna (tune finds its spaces itself)"
        )
    if launch.forks:
        launch.argv.append(f"hydra.launcher.resume={str(checked.resumes).lower()}")
    return launch


def _of_each_job(text: str) -> str:
    """Write an override as a sweep over one value: Hydra then applies it to each job, not to their shared part."""
    key, _, value = text.partition("=")
    return f"{key}=choice({value or arguments.quote(value)})"


def _make(folder: Path) -> None:
    """Create the folder of the run or sweep, so that a write error is reported at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {str(folder)!r} ({(error.strerror or str(error)).lower()}): start elsewhere, or set "
            "TL_LAB_OUTPUTS or hydra.run.dir"
        ) from error


def _resume_arguments(folder: Path, passed: list[str], overrides: list[str]) -> list[str]:
    rest = [text for text in overrides if not text.startswith("resume=")]
    # Lightning passes Hydra's own options to the further processes of a distributed run
    if passed or (rest and not (_is_child() and all(text.startswith("hydra.") for text in rest))):
        raise UserError(
            f"resume: a resumed run takes its configuration from its folder, so only trainer.max_epochs can be "
            f"given with it (here: {' '.join([*passed, *rest])})"
        )
    if not folder.is_dir():
        raise UserError(f"resume: there is no folder {str(folder)!r}{arguments.nearby(folder)}")
    if not (folder / "config.yaml").is_file():
        raise UserError(_without_config(folder))
    names = [text for text in rest if text.startswith("hydra.job.name=")]
    return [f"hydra.run.dir={arguments.quote(str(folder))}", "hydra.output_subdir=null", *names]


def _given_anew(text: str) -> bool:
    """Whether an override is allowed with ``resume=``: folders of the data, and the action if they have changed."""
    key, equals, value = text.partition("=")
    return bool(equals and value) and (key == "changed_data" or key.startswith("data."))


def _without_config(folder: Path) -> str:
    """Advise on a folder without a configuration."""
    begun = folder / ".hydra" / "overrides.yaml"
    if not begun.is_file():
        return f"resume: {str(folder)!r} has no config.yaml; name a run's folder, such as outputs/runs/<name>/<time>"
    again = shlex.join([*map(str, read_yaml(begun) or ()), f"hydra.run.dir={arguments.quote(str(folder))}"])
    return f"resume: the run in {str(folder)!r} ended before training; start it again: python train.py {again}"


def _debugged(overrides: list[str]) -> list[str]:
    """Apply the settings of ``debug=true``, except for keys that are also given."""
    if not any(text.lower() == "debug=true" for text in overrides):
        return overrides
    given = {text.partition("=")[0] for text in overrides}
    return [*overrides, *(f"{key}={value}" for key, value in _TINY.items() if key not in given)]


def _whole(texts: Sequence[str]) -> int | None:
    """Return the last ``trainer.max_epochs=N``; None if there is none."""
    if not texts:
        return None
    value = texts[-1].partition("=")[2]
    if not value.isdecimal() or int(value) < 1:
        raise UserError(f"trainer.max_epochs must be a whole number of at least 1, not {value!r}")
    return int(value)


def _is_child() -> bool:
    """Whether this is a further process of a distributed run, which shares the first one's folder."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _run_job(cfg: DictConfig, launch: Launch) -> float | None:
    """Run one job; in a sweep, an error is reported and the next job starts."""
    try:
        return carry_out(cfg, launch)
    except Exception as error:
        if _is_child() and _first_process_ends():
            sys.exit(1)  # the first process has printed the same
        mistake = user_error(error)
        if mistake is None and launch.sweep is None:
            raise  # Hydra prints the traceback
        launch.failed = True
        _log_failure()
        if mistake is None:
            traceback.print_exc()
        else:
            _say(mistake)
        return None


def carry_out(cfg: DictConfig, launch: Launch) -> float | None:
    """Run one job: a resumed one, one of a sweep, or a new one."""
    from hydra.core.hydra_config import HydraConfig

    launch.folder = HydraConfig.get().runtime.output_dir
    importable()  # a process of another engine has the names of folders only
    try:
        if launch.resume is not None:
            return _go_on(launch.resume, launch)
        if launch.sweep is not None:
            return _run_swept_job(cfg, launch)
        return _experiment()(cfg)
    except SystemExit as error:  # raised by Lightning after an interruption
        raise KeyboardInterrupt from error


def _go_on(folder: Path, launch: Launch) -> float | None:
    """Resume the run of a folder, for the configured number of epochs or more."""
    cfg = _stored_config(folder)
    _restore_choices(folder)
    with foreign(folder / "config.yaml"):
        experiment = _experiment()
        if launch.epochs is not None:
            from tl_lab.run.lengthening import lengthen

            lengthen(folder, cfg, launch.epochs)
        return experiment(cfg, launch.anew)


def _first_process_ends() -> bool:
    """Wait for the process that started this one; return False if it does not end.

    Lightning kills it as soon as this one fails, but it needs time to write the error.
    """
    first, began = os.getppid(), time.monotonic()
    while os.getppid() == first:
        if time.monotonic() - began >= _PATIENCE_S:
            return False
        time.sleep(0.1)
    return True


def _say_interrupted(launch: Launch) -> None:
    where = "" if launch.folder is None else f"; resume: {commands.train(f'resume={launch.folder}')}"
    if launch.sweep is not None:
        kept = [text for text in launch.overrides if not text.startswith(("sweep.resume=", "hydra.sweep.dir="))]
        words = ["-m", *kept, f"hydra.sweep.dir={arguments.plain_or_quoted(str(launch.sweep))}", "sweep.resume=true"]
        where = f"; resume: {commands.train(*words)}"
    print(f"tl_lab: interrupted{where}", file=sys.stderr, flush=True)


def _experiment() -> Callable[..., float | None]:
    return import_heavy("tl_lab.run.experiment").run


def _stored_config(folder: Path) -> DictConfig:
    try:
        cfg = read_stored(folder)
    except UserError as error:
        raise UserError(f"resume: {error}") from error
    check_foreign(cfg, folder / "config.yaml")
    _check_unedited(cfg, folder)
    cfg.resume = str(folder)
    OmegaConf.set_struct(cfg, True)
    return cfg


def _check_unedited(cfg: DictConfig, folder: Path) -> None:
    """Refuse a configuration that differs from that of the original run in any setting that affects results.

    Raises:
        UserError: with both hashes.
    """
    from tl_lab.sweeps.jobs import read_settled

    results, found = read_settled(folder), config_hash(cfg)
    began = results.get("config_hash")
    if began not in (None, found) and results.get("config_hash_before") != found:
        raise UserError(
            f"resume: {folder / 'config.yaml'} was edited since the run started (its hash was {str(began)[:10]}, now "
            f"{found[:10]}): restore it, or start a new run with the other settings"
        )


def _restore_choices(folder: Path) -> None:
    """Give Hydra the choices of the resumed run instead of today's defaults."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    try:
        stored = dict(read_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["choices"])
    except (UserError, KeyError, TypeError, ValueError):  # affects only names in messages
        return
    if any("${" in text for text in texts_in(stored)):  # Hydra would resolve it
        return
    runtime = cast(DictConfig, HydraConfig.get().runtime)
    with read_write(runtime), open_dict(runtime):
        runtime.choices = stored


def _run_swept_job(cfg: DictConfig, launch: Launch) -> float | None:
    from hydra.core.hydra_config import HydraConfig

    from tl_lab.sweeps.jobs import read_settled

    number, folder = HydraConfig.get().job.num, Path(HydraConfig.get().runtime.output_dir)
    if not launch.forks:
        overrides = " ".join(HydraConfig.get().overrides.task) or "as configured"
        print(f"\njob {number}: {overrides}  ->  {folder}", flush=True)
        earlier = read_settled(folder) if launch.resumes else {}
        if earlier.get("status") == "completed" and cfg.get("changed_data") != "restart":
            return earlier.get("objective")
        if earlier:
            cfg.resume = str(folder)
        if not launch.launcher.endswith(".BasicLauncher"):
            return _run_apart(cfg, launch, folder)
    if cfg.trainer.get("devices", 1) in (1, "1") and cfg.trainer.get("num_nodes", 1) == 1:
        return _experiment()(cfg)
    code = subprocess.run(_single_command(cfg, folder), check=False, env=_environment()).returncode
    if code != 0:
        raise UserError(f"job {number} ended with exit code {code}; see {folder}")
    return read_settled(folder).get("objective")


def _run_apart(cfg: DictConfig, launch: Launch, folder: Path) -> float | None:
    """Run a job of another engine, whose processes may run many jobs, in a separate process."""
    from tl_lab.sweeps.apart import run_apart

    _experiment()  # once for all jobs of this process
    inner = replace(launch, launcher=_FORKED, resumes=False)
    return run_apart(lambda: _run_job(cfg, inner), folder)


def _single_command(cfg: DictConfig, folder: Path) -> list[str]:
    """Return a job's own command line: Lightning would start further processes with the current one, and
    repeat the whole sweep."""
    from hydra.core.hydra_config import HydraConfig

    train = [sys.executable, "-m", "tl_lab", "train"]
    if cfg.resume and (folder / "config.yaml").is_file():
        return [*train, f"resume={folder}", f"changed_data={cfg.get('changed_data') or 'refuse'}"]
    single = ["hydra.mode=RUN", f"hydra.run.dir={arguments.quote(str(folder))}", "hydra.output_subdir=null"]
    quiet = ["figures=false"] if cfg.figures == "auto" else []
    return [*train, *HydraConfig.get().overrides.task, *single, *quiet]


def _environment() -> dict[str, str]:
    package = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(package), _DIES_WITH: str(os.getpid())}


def _die_with_the_sweep() -> None:
    """End this process with its parent, and further processes of a distributed run with this one:
    a process that survived a killed sweep would write to the folder of a resumed job."""
    if (parent := os.environ.get(_DIES_WITH)) is not None:
        from tl_lab.sweeps.processes import die_with_parent

        die_with_parent(int(parent))
        os.environ[_DIES_WITH] = str(os.getpid())


def user_error(error: BaseException) -> UserError | None:
    """Find the user's mistake behind an error: Hydra wraps errors of constructors."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause


def _say(error: UserError) -> int:
    print(f"tl_lab: {error}", file=sys.stderr, flush=True)
    return 1


def _log_failure() -> None:
    """Write the traceback to the run's log file; the screen shows the sentence."""
    import logging

    logging.raiseExceptions = False  # a full disk may be the cause of the failure
    logging.getLogger("tl_lab").info("the run failed", exc_info=True)


def _discard(folder: Path) -> None:
    """Remove the folder of a sweep that was refused before any of its jobs started."""
    for name in (".lock", "sweep.json", "multirun.yaml"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()


def _finish_sweep(folder: Path) -> bool:
    """Write the sweep's report; return False if a job did not complete, in any process."""
    from tl_lab.sweeps.folder import runs_of
    from tl_lab.sweeps.jobs import read_settled

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
        print(f"\nthe report could not be written ({error}); the runs' own results are safe", file=sys.stderr)
        print(f"try again: {commands.command('report', *map(str, parts))}", file=sys.stderr)
    last = parts[-1]
    if len(failed) < len(jobs) and not any(last.glob("*/figures")):
        print(f"figures of each run: {commands.command('figures', str(last))}")
    if any(last.glob("*/wandb/offline-run-*")):
        print(f"to W&B, when there is a network: wandb sync {shlex.quote(str(last))}/*/wandb/offline-run-*")
    if failed:
        names = ", ".join(str(job) for job in failed)
        print(f"tl_lab: {len(failed)} of {len(jobs)} jobs failed: {names}", file=sys.stderr)
    return not failed
