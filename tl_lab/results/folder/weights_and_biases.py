"""Weights & Biases: offline unless asked otherwise; never a reason for a run to stop or to wait."""

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
"""Variables that name, join or go on with a run."""


def wandb_logger(
    options: Mapping[str, Any],
    folder: Path,
    name: str,
    tags: Sequence[str],
    config: Mapping[str, Any],
    group: str | None = None,
) -> WandbLogger | None:
    """Open a W&B run in the run's folder.

    Without an account, or when the service does not answer in time, the run goes on offline; when W&B itself
    fails, without it.

    Args:
        options: the ``logger`` group: mode, project, entity, group, job_type, notes.
        folder: the run's folder.
        name: of the run.
        tags: of the run.
        config: the whole resolved configuration.
        group: what the run belongs to where ``options`` names nothing.

    Returns:
        A Lightning logger, or None if W&B could not be used.
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
    wandb.finish()  # a run left open by an earlier job in this process would swallow this one
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    mode = options["mode"]
    if mode == "online" and not _has_account():
        warnings.warn("logger.mode=online needs `wandb login`; this run is logged offline", stacklevel=2)
        mode = "offline"
    settings: dict[str, Any] = {"init_timeout": _PATIENCE_S, "silent": True, "console": "off"}
    if group is not None:  # listing every package takes longer than the rest; results.json has those that matter
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
    begun = _begun(folder)  # a run that goes on is the same one there; any other has an id that nothing else has
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
    """Hide what the environment says of a run while one is opened: it would join runs that have nothing in common."""
    hidden = {name: os.environ.pop(name) for name in _IDENTITY if name in os.environ}
    if hidden:
        warnings.warn(f"{', '.join(hidden)} left aside: each run has a W&B identity of its own", stacklevel=4)
    try:
        yield
    finally:
        os.environ |= hidden


def log_figures(figures: Mapping[str, Path]) -> None:
    """Add figures to the open W&B run, if there is one: their files, by name; drawing them again would take as long."""
    if wandb.run is not None:
        wandb.run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})


def finish_wandb(metrics: Mapping[str, float]) -> None:
    """Write the final metrics into the open run's summary and close it, if there is one."""
    if wandb.run is not None:
        wandb.run.summary.update(dict(metrics))
        wandb.finish()


def _begun(folder: Path) -> str | None:
    """Give the W&B identity of what was logged in this folder before; None where nothing was."""
    logged = sorted(folder.glob("wandb/*run-*-*"))
    return logged[-1].name.rpartition("-")[2] if logged else None


def _has_account() -> bool:
    try:
        return bool(wandb.api.api_key)
    except Exception:
        return False
