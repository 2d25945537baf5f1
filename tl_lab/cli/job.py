"""One job of ``train.py``: a new run, a resumed run, or a job of a sweep, in this process or in a separate one."""

import contextlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.cli import arguments
from tl_lab.cli.launch import FORKED, Launch, is_further_process
from tl_lab.config import difference_from_recorded
from tl_lab.config.catalogue import importable
from tl_lab.config.instantiate import foreign
from tl_lab.config.stored import read_stored, read_yaml, texts_in
from tl_lab.config.trust import check_foreign
from tl_lab.errors import UserError
from tl_lab.importing import import_heavy
from tl_lab.results.folder.lock import held

__all__ = ["carry_out", "die_with_the_sweep", "experiment", "run_job", "say", "user_error"]

_PATIENCE_S = 10.0
_DIES_WITH = "TL_LAB_DIES_WITH"  # environment variable with the id of the process that started this one


def run_job(cfg: DictConfig, launch: Launch) -> float | None:
    """Run one job; in a sweep, an error is reported and the next job starts."""
    try:
        return carry_out(cfg, launch)
    except Exception as error:
        if is_further_process() and _first_process_ends():
            sys.exit(1)  # the first process has printed the same error
        mistake = user_error(error)
        if mistake is None and launch.sweep is None:
            raise  # Hydra prints the traceback
        launch.failed = True
        _log_failure()
        if mistake is None:
            traceback.print_exc()
        else:
            say(mistake)
        return None


def carry_out(cfg: DictConfig, launch: Launch) -> float | None:
    """Run one job: a resumed run, a job of a sweep, or a new run."""
    from hydra.core.hydra_config import HydraConfig

    launch.folder = HydraConfig.get().runtime.output_dir
    importable()  # a process of another engine knows only the names of the folders
    try:
        if launch.resume is not None:
            return _go_on(launch.resume, launch)
        if launch.sweep is not None:
            return _run_swept_job(cfg, launch)
        return experiment()(cfg)
    except SystemExit as error:  # raised by Lightning after an interruption
        raise KeyboardInterrupt from error


def _go_on(folder: Path, launch: Launch) -> float | None:
    """Resume the run in a folder, up to the configured number of epochs or a larger one."""
    with foreign(folder / "config.yaml"):
        # locked already here, because a second start must not change what the first one reads and writes
        with contextlib.nullcontext() if is_further_process() else held(folder):
            cfg = _stored_config(folder)
            if launch.epochs is not None:
                import_heavy("tl_lab.run.lengthening").lengthen(folder, cfg, launch.epochs)
        _restore_choices(folder)
        return experiment()(cfg, launch.anew)


def _first_process_ends() -> bool:
    """Wait for the process that started this one; return False if it does not end.

    Lightning kills that process as soon as this one fails, but it needs time to write the error.
    """
    first, began = os.getppid(), time.monotonic()
    while os.getppid() == first:
        if time.monotonic() - began >= _PATIENCE_S:
            return False
        time.sleep(0.1)
    return True


def experiment() -> Callable[..., float | None]:
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
    """Check that a configuration agrees with that of the original run in all settings that affect results.

    Raises:
        UserError: it differs; the message contains both hashes.
    """
    from tl_lab.sweeps.jobs import read_settled

    if difference := difference_from_recorded(cfg, read_settled(folder)):
        raise UserError(
            f"resume: {folder / 'config.yaml'} {difference}: restore it, or start a new run with the other settings"
        )


def _restore_choices(folder: Path) -> None:
    """Pass the choices of the resumed run to Hydra, instead of the current defaults."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    try:
        stored = dict(read_yaml(folder / ".hydra" / "hydra.yaml")["hydra"]["runtime"]["choices"])
    except (UserError, KeyError, TypeError, ValueError):  # only names in messages depend on the choices
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
        return experiment()(cfg)
    code = subprocess.run(_single_command(cfg, folder), check=False, env=_environment()).returncode
    if code != 0:
        raise UserError(f"job {number} ended with exit code {code}; see {folder}")
    return read_settled(folder).get("objective")


def _run_apart(cfg: DictConfig, launch: Launch, folder: Path) -> float | None:
    """Run a job in a separate process of another engine's process, which may run many jobs."""
    from tl_lab.sweeps.apart import run_apart

    experiment()  # imported once for all jobs of this process
    inner = replace(launch, launcher=FORKED, resumes=False)
    return run_apart(lambda: run_job(cfg, inner), folder)


def _single_command(cfg: DictConfig, folder: Path) -> list[str]:
    """Return the command line of a single job.

    Lightning starts further processes with the current command line, which would repeat the whole sweep.
    """
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


def user_error(error: BaseException) -> UserError | None:
    """Find the user's mistake that caused an error, because Hydra wraps errors of constructors."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause


def say(error: UserError) -> int:
    print(f"tl_lab: {error}", file=sys.stderr, flush=True)
    return 1


def _log_failure() -> None:
    """Write the traceback to the run's log file; the screen shows only the message."""
    import logging

    logging.raiseExceptions = False  # a full disk may be the cause of the failure
    logging.getLogger("tl_lab").info("the run failed", exc_info=True)


def die_with_the_sweep() -> None:
    """Make this process end with its parent, and the further processes of a distributed run end with this one.

    A process that survived a killed sweep would write to the folder of a resumed job.
    """
    if (parent := os.environ.get(_DIES_WITH)) is not None:
        from tl_lab.sweeps.processes import die_with_parent

        die_with_parent(int(parent))
        os.environ[_DIES_WITH] = str(os.getpid())
