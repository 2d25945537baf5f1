"""A sweep's folder: its lock, its command, and its finished runs."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from tl_lab.config import compose, config_hash
from tl_lab.config.stored import read_yaml
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, SWEEP, read_results, write_json

__all__ = ["Earlier", "check_unchanged", "claim", "earlier_runs", "last_sweep", "pick", "runs_of"]

_LOCK = ".lock"
_NOT_OF_THE_COMMAND = ("sweep.resume=", "changed_data=", "hydra.sweep.dir=", "hydra.launcher.", "hydra/launcher=")
_NEVER_ENTERED = {"checkpoints", "figures", "wandb", ".hydra"}


@dataclass(frozen=True)
class Earlier:
    """An earlier run in a sweep's folder.

    Attributes:
        folder: folder of the run.
        status: ``completed``, ``failed``, or ``running`` (which means that the run was interrupted).
            commit: commit of the code that ran it.
            objective: value of the objective that sweepers optimise.
            trained: whether there is a checkpoint from which the run can resume.
    """

    folder: Path
    status: str
    commit: str | None
    objective: float | None
    trained: bool


def claim(folder: Path, overrides: Sequence[str]) -> IO[str]:
    """Lock a sweep's folder for this process, and record the command.

    Args:
        folder: folder of the sweep; it must exist.
        overrides: overrides from the command line.

    Returns:
        The lock, held until it is closed or the process ends.

    Raises:
        UserError: another process is running a sweep in the folder, or the folder is not writable.
    """
    try:
        lock = (folder / _LOCK).open("a", encoding="ascii")
    except OSError as error:
        raise UserError(f"cannot write to {str(folder)!r} ({(error.strerror or str(error)).lower()})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError(f"hydra.sweep.dir: another process is running a sweep in {str(folder)!r}") from None
    except OSError:  # a file system without locks
        return lock
    if not (folder / SWEEP).exists():
        began = datetime.now().isoformat(timespec="seconds")
        write_json(folder / SWEEP, {"began": began, "overrides": list(overrides), "process": os.getpid()})
    return lock


def last_sweep(new_folder: Path, overrides: Sequence[str]) -> Path | None:
    """Find the newest sweep that was started with the same overrides, in any order, in the folders next to a new one.

    Options that determine where and how jobs run (``hydra.sweep.dir``, ``hydra.launcher``) are not compared.
    """
    found = []
    for file in new_folder.parent.glob(f"*/{SWEEP}"):
        try:
            content: Any = json.loads(file.read_text(encoding="utf-8"))
            if _command(content["overrides"]) == _command(overrides):
                found.append((str(content["began"]), file.stat().st_mtime, file.parent))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return max(found)[-1] if found else None


def check_unchanged(folder: Path, overrides: Sequence[str]) -> None:
    """Check that the jobs of a resumed sweep have the same numbers as before.

    Args:
        folder: folder of the sweep.
        overrides: overrides from the command line.

    Raises:
        UserError: the command differs, or a run's overrides now yield another configuration.
    """
    advice = "resume with hydra/launcher=forked, which matches configurations, or give a new hydra.sweep.dir"
    before = None
    with suppress(OSError, ValueError, KeyError):
        before = json.loads((folder / SWEEP).read_text(encoding="utf-8"))["overrides"]
    if before is not None and _command(before) != _command(overrides):
        raise UserError(f"sweep.resume: {str(folder)!r} contains the sweep of another command: {advice}")
    for run in runs_of(folder):
        file = run / ".hydra" / "overrides.yaml"
        was = read_results(run).get("config_hash") if (run / RESULTS).exists() and file.is_file() else None
        if was is not None:
            stored = [str(text) for text in read_yaml(file) or ()]
            if any("${" in text and ":" in text for text in stored):  # a resolver, which a run's file must not call
                raise UserError(f"sweep.resume: {file} contains a reference that calls a resolver: {advice}")
            if was != config_hash(compose([text for text in stored if not text.lstrip("+~").startswith("hydra")])):
                raise UserError(f"sweep.resume: the files under conf/ have changed since {run} started: {advice}")


def _command(overrides: Sequence[str]) -> list[str]:
    return sorted(text for text in overrides if not text.startswith(_NOT_OF_THE_COMMAND))


def runs_of(folder: Path) -> Iterator[Path]:
    """Yield the folders of a sweep's runs, which contain results or were started by Hydra."""
    for path, folders, files in os.walk(folder):
        if RESULTS in files or (".hydra" in folders and (Path(path) / ".hydra" / "overrides.yaml").exists()):
            yield Path(path)
            folders.clear()
        folders[:] = sorted(name for name in folders if name not in _NEVER_ENTERED)


def earlier_runs(folder: Path) -> dict[str, list[Earlier]]:
    """Return the runs in a sweep's folder, by the hash of their configuration."""
    found: dict[str, list[Earlier]] = {}
    for run in runs_of(folder):
        try:
            results = read_results(run)
        except UserError:  # the run ended before it wrote results, or the file is damaged: the job runs again
            continue
        trained = (run / "checkpoints" / "last.ckpt").exists()
        status, objective = str(results.get("status")), results.get("objective")
        one = Earlier(run, status, results.get("git_commit"), objective, trained)
        found.setdefault(str(results.get("config_hash")), []).append(one)
    return found


def pick(candidates: Sequence[Earlier], config: Mapping[str, Any], own: Path) -> Earlier | None:
    """Choose the earlier run that replaces a job, among those with the hash of its configuration.

    The hash excludes the folders of data, so that runs on different machines are comparable. Within a sweep, different
    folders are different data sets, so they are compared here.

    Args:
        candidates: runs with this hash.
        config: configuration of the job, resolved and as plain values.
        own: the folder that a new run of the job would get.

    Returns:
        The run in this folder if there is one, otherwise a completed run, otherwise any run; None without candidates.
    """
    same = [one for one in candidates if (roots := _stored_roots(one.folder)) is None or roots == _roots(config)]
    ranked = sorted(same, key=lambda one: (one.folder.resolve() != own.resolve(), one.status != "completed"))
    return ranked[0] if ranked else None


def _stored_roots(run: Path) -> list[tuple[str, Any]] | None:
    try:
        return _roots(read_yaml(run / "config.yaml"))
    except UserError:
        return None  # the run ended before it wrote its configuration, so only the hash is known


def _roots(node: Any, path: str = "") -> list[tuple[str, Any]]:
    """List the data folders of a configuration, by key."""
    if isinstance(node, Mapping):
        own = [(f"{path}{key}", value) for key, value in node.items() if key == "root"]
        return sorted(own + [pair for key, value in node.items() for pair in _roots(value, f"{path}{key}.")], key=str)
    if isinstance(node, list):
        return [pair for number, value in enumerate(node) for pair in _roots(value, f"{path}{number}.")]
    return []
