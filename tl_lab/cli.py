"""The command line of ``train.py``: checked before anything runs, each mistake one sentence.

Order of events: read the arguments, compose once to find mistakes, then hand over to Hydra, which composes
again and calls the job, once or (``-m``) for every combination.
"""

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab import arguments
from tl_lab.config import conf_dir
from tl_lab.errors import UserError

__all__ = ["main"]

_PATIENCE_S = 10.0


@dataclass
class _Launch:
    """What one start of the program is about to do.

    Attributes:
        argv: arguments for Hydra.
        resume: folder of the run to go on with.
        sweep: folder of the sweep, where there is one.
        folder: of the job that is running.
        failed: a job of this process ended in an error that has been reported.
    """

    argv: list[str]
    resume: Path | None = None
    sweep: Path | None = None
    folder: str | None = field(default=None, init=False)
    failed: bool = field(default=False, init=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the command line asks for; ends the process with exit code 1 where something failed.

    Args:
        argv: arguments; ``None`` for those of the process.
    """
    import hydra

    given = list(sys.argv[1:] if argv is None else argv)
    try:
        launch = _prepare(given)
    except UserError as error:
        sys.exit(_say(error))
    original = list(sys.argv)

    def job(cfg: DictConfig) -> float | None:
        # Lightning starts the other processes of a distributed run with this process's own arguments
        sys.argv[:] = original
        return _run_job(cfg, launch, given)

    sys.argv[1:] = launch.argv
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    except KeyboardInterrupt:
        _say_interrupted(launch)
        sys.exit(130)
    finally:
        sys.argv[:] = original
    if launch.sweep is not None:
        launch.failed |= not _finish_sweep(launch.sweep)
    if launch.failed:
        sys.exit(1)


def _prepare(given: list[str]) -> _Launch:
    """Check the arguments and decide what Hydra gets.

    Raises:
        UserError: something in them is wrong.
    """
    flags, overrides = arguments.split(given)
    passed = [part for flag in flags for part in flag if part is not None]
    resume = arguments.resumed_folder(overrides)
    if resume is not None:
        return _Launch(_resume_arguments(resume, passed, overrides), resume=resume)
    names = {name for name, _ in flags}
    if names & arguments.UNCHECKED:
        return _Launch([*passed, *overrides])
    checked = arguments.check(overrides, flags)
    if names & arguments.SHOWING:
        return _Launch([*passed, *overrides])
    folder = Path(checked.folder)
    if checked.multirun:
        if any(folder.glob("*/config.yaml")):
            raise UserError(
                f"hydra.sweep.dir: {str(folder)!r} holds the runs of an earlier sweep, which would be "
                f"overwritten; name another folder, or leave hydra.sweep.dir out to get a new one"
            )
        _make(folder)
        pinned = f"hydra.sweep.dir={arguments.quote(checked.folder)}"
        return _Launch([*passed, *overrides, pinned], sweep=folder)
    if (folder / "config.yaml").exists() and not _is_child():
        raise UserError(
            f"hydra.run.dir: {str(folder)!r} holds an earlier run, which would be overwritten; go on with it "
            f"by resume={folder}, or leave hydra.run.dir out to get a new folder"
        )
    _make(folder)
    if _is_child():
        return _Launch([*passed, *overrides])
    # pinned: composing again would read the clock again
    return _Launch([*passed, *overrides, f"hydra.run.dir={arguments.quote(checked.folder)}"])


def _make(folder: Path) -> None:
    """Make the folder of the run or sweep, so that a place where nothing can be written is said at once."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {str(folder)!r} ({(error.strerror or str(error)).lower()}): start elsewhere, or set "
            "TL_LAB_OUTPUTS or hydra.run.dir"
        ) from error


def _resume_arguments(folder: Path, passed: list[str], overrides: list[str]) -> list[str]:
    rest = [text for text in overrides if not text.startswith("resume=")]
    # the further processes of a distributed run get Hydra's own options from Lightning
    if passed or (rest and not (_is_child() and all(text.startswith("hydra.") for text in rest))):
        raise UserError(
            f"resume: a resumed run takes its configuration from its folder, so nothing else can be given "
            f"with it (here: {' '.join([*passed, *rest])})"
        )
    if not folder.is_dir():
        raise UserError(f"resume: there is no folder {str(folder)!r}{arguments.nearby(folder)}")
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"resume: {str(folder)!r} holds no config.yaml; name a run's folder, such as outputs/runs/<name>/<time>"
        )
    names = [text for text in rest if text.startswith("hydra.job.name=")]
    return [f"hydra.run.dir={arguments.quote(str(folder))}", "hydra.output_subdir=null", *names]


def _is_child() -> bool:
    """Whether this process is a further one of a distributed run, which shares the first one's folder."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _run_job(cfg: DictConfig, launch: _Launch, given: list[str]) -> float | None:
    """Run one job; in a sweep an error is reported and the next job gets its turn."""
    from hydra.core.hydra_config import HydraConfig

    launch.folder = HydraConfig.get().runtime.output_dir
    try:
        if launch.resume is not None:
            cfg = _stored_config(launch.resume)
            _restore_choices(launch.resume)
        if launch.sweep is not None:
            return _run_swept_job(cfg, given)
        return _experiment()(cfg)
    except SystemExit as error:  # how Lightning ends a training that was interrupted
        raise KeyboardInterrupt from error
    except Exception as error:
        if _is_child() and _first_process_ends():
            sys.exit(1)  # it has said the same
        mistake = _user_error(error)
        if mistake is None and launch.sweep is None:
            raise  # Hydra prints the traceback
        launch.failed = True
        _log_failure()
        if mistake is None:
            traceback.print_exc()
        else:
            _say(mistake)
        return None


def _first_process_ends() -> bool:
    """Wait for the process that started this one; False where it does not end.

    Lightning kills it as soon as it sees that this one failed: it needs the time to write what went wrong.
    """
    first, began = os.getppid(), time.monotonic()
    while os.getppid() == first:
        if time.monotonic() - began >= _PATIENCE_S:
            return False
        time.sleep(0.1)
    return True


def _say_interrupted(launch: _Launch) -> None:
    where = "" if launch.folder is None or launch.sweep else f"; go on with: python train.py resume={launch.folder}"
    print(f"tl_lab: interrupted{where}", file=sys.stderr, flush=True)


def _experiment() -> Callable[[DictConfig], float | None]:
    from tl_lab.experiment import run  # PyTorch and Lightning: several seconds

    return run


def _stored_config(folder: Path) -> DictConfig:
    try:
        cfg = OmegaConf.load(folder / "config.yaml")
    except Exception as error:
        raise UserError(f"resume: {str(folder / 'config.yaml')!r} cannot be read: {error}") from error
    if not isinstance(cfg, DictConfig) or "strategy" not in cfg:
        raise UserError(f"resume: {str(folder / 'config.yaml')!r} is not the configuration of a run")
    cfg.resume = str(folder)
    OmegaConf.set_struct(cfg, True)
    return cfg


def _restore_choices(folder: Path) -> None:
    """Let Hydra name the choices of the run that goes on, not the defaults of today."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict, read_write

    try:
        stored = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra.runtime.choices
    except Exception:  # only names in messages depend on it
        return
    runtime = cast(DictConfig, HydraConfig.get().runtime)
    with read_write(runtime), open_dict(runtime):
        runtime.choices = stored


def _run_swept_job(cfg: DictConfig, given: list[str]) -> float | None:
    from hydra.core.hydra_config import HydraConfig

    hydra_cfg = HydraConfig.get()
    folder = hydra_cfg.runtime.output_dir
    overrides = list(hydra_cfg.overrides.task)
    print(f"\njob {hydra_cfg.job.num}: {' '.join(overrides) or 'as configured'}  ->  {folder}", flush=True)
    if cfg.trainer.get("devices", 1) in (1, "1") and cfg.trainer.get("num_nodes", 1) == 1:
        return _experiment()(cfg)
    # Lightning starts further processes with this command line, which would begin the whole sweep again
    flags, _ = arguments.split(given)
    kept = [part for name, value in flags if name in arguments.CONFIG_DIR for part in (name, value or "")]
    single = ["hydra.mode=RUN", f"hydra.run.dir={arguments.quote(folder)}", "hydra.output_subdir=null"]
    command = [sys.executable, "-m", "tl_lab", "train", *kept, *overrides, *single]
    package = [str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(package)}
    code = subprocess.run(command, check=False, env=environment).returncode
    if code != 0:
        raise UserError(f"job {hydra_cfg.job.num} ended with exit code {code}; see {folder}")
    return None


def _user_error(error: BaseException) -> UserError | None:
    """Find the user's mistake behind an error: Hydra wraps what constructors raise."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause


def _say(error: UserError) -> int:
    print(f"tl_lab: {error}", file=sys.stderr, flush=True)
    return 1


def _log_failure() -> None:
    """Keep the traceback in the run's log file; the screen has the sentence."""
    import logging

    logging.raiseExceptions = False  # a full disk may be what failed
    logging.getLogger("tl_lab").info("the run failed", exc_info=True)


def _finish_sweep(folder: Path) -> bool:
    """Write the sweep's report; False where a job did not complete, whichever process ran it."""
    import json

    def completed(job: Path) -> bool:
        try:
            results: dict[str, Any] = json.loads((job / "results.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return results.get("status") == "completed"

    jobs = sorted(file.parent.parent for file in folder.glob("**/.hydra/config.yaml"))
    failed = [job for job in jobs if not completed(job)]
    try:
        from tl_lab.results.report import show_summary, write_report

        report = write_report(folder)
        show_summary(folder)
        print(f"\nreport: {report}")
    except Exception as error:
        print(f"\nthe report could not be written ({error}); the runs' own results are safe", file=sys.stderr)
        print(f"try again: python -m tl_lab report {folder}", file=sys.stderr)
    if failed:
        names = ", ".join(str(job) for job in failed)
        print(f"tl_lab: {len(failed)} of {len(jobs)} jobs failed: {names}", file=sys.stderr)
    return not failed
