"""Weights & Biases: offline by default; its failures neither stop a run nor delay it much."""

import contextlib
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import WandbLogger

__all__ = ["finish_wandb", "log_figures", "wandb_logger"]

_PATIENCE_S = 30.0
_IDENTITY = (
    "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_RESUME_FROM", "WANDB_FORK_FROM", "WANDB_NAME", "WANDB_RUN_NAME",
    "WANDB_RUN_GROUP", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_SHARED", "WANDB_X_PRIMARY", "WANDB_X_LABEL",
)  # fmt: skip
"""Environment variables that name, join or resume a W&B run."""


def wandb_logger(
    options: Mapping[str, Any],
    folder: Path,
    name: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    group: str | None = None,
) -> WandbLogger | None:
    """Open a W&B run in the run's folder.

    Without an account, or if the service does not respond in time, the run is logged offline. If that fails as well,
    the run is not logged to W&B.

    Args:
        options: the ``logger`` group: mode, project, entity, group, job_type, notes.
        folder: the run's folder.
        name: name of the run.
        tags: tags of the run.
        config: the whole resolved configuration.
        group: group to use if ``options`` has none.

    Returns:
        A Lightning logger; None if W&B cannot be used.
    """
    with _no_other_run():
        return _open(options, folder, name, tags, config, group)


def _open(
    options: Mapping[str, Any],
    folder: Path,
    name: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    group: str | None,
) -> WandbLogger | None:
    wandb.finish()  # a run that an earlier job in this process left open would receive the records of this one
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    mode = options["mode"]
    if mode == "online" and not _has_account():
        warnings.warn("logger.mode=online needs `wandb login`; this run is logged offline", stacklevel=2)
        mode = "offline"
    settings: dict[str, Any] = {"init_timeout": _PATIENCE_S, "silent": True, "console": "off"}
    if group is not None:  # listing all packages would take most of the time; results.json has the important ones
        settings["x_save_requirements"] = False
    arguments: dict[str, Any] = {
        "dir": str(folder),
        "name": name,
        "tags": list(tags),
        "config": dict(config),
        "project": options["project"],
        "entity": options["entity"],
        "group": options["group"] or group,
        "job_type": options["job_type"],
        "notes": options["notes"],
    }
    begun = _begun(folder)  # a resumed run keeps its id; any other run gets a new one
    arguments |= {"id": begun or secrets.token_hex(4), "resume": "allow" if begun else "never"}
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            run = wandb.init(mode=attempt, settings=wandb.Settings(**settings), **arguments)
            return WandbLogger(experiment=run, log_model=options["log_model"] and attempt == "online")
        except Exception as error:
            warnings.warn(f"W&B could not start {attempt} ({type(error).__name__}: {error})", stacklevel=2)
    return None


@contextlib.contextmanager
def _no_other_run() -> Iterator[None]:
    """Hide environment variables that name or resume a run while a run is opened; they would join unrelated runs."""
    hidden = {name: os.environ.pop(name) for name in _IDENTITY if name in os.environ}
    if hidden:
        warnings.warn(f"{', '.join(hidden)} ignored: each run has its own W&B id", stacklevel=4)
    try:
        yield
    finally:
        os.environ |= hidden


def log_figures(figures: Mapping[str, Path]) -> None:
    """Add figures to the open W&B run, if there is one; they are read from their files instead of drawn again."""
    if wandb.run is not None:
        wandb.run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})


def finish_wandb(metrics: Mapping[str, float]) -> None:
    """Write the final metrics into the open run's summary and close it, if there is one."""
    if wandb.run is not None:
        wandb.run.summary.update(dict(metrics))
        wandb.finish()


def _begun(folder: Path) -> str | None:
    """Return the W&B id of an earlier log in this folder; None if there is none."""
    logged = sorted(folder.glob("wandb/*run-*-*"))
    return logged[-1].name.rpartition("-")[2] if logged else None


def _has_account() -> bool:
    try:
        return bool(wandb.api.api_key)
    except Exception:
        return False
