"""Weights & Biases: offline unless asked otherwise; never a reason for a run to stop or to wait."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from matplotlib.figure import Figure
from pytorch_lightning.loggers import WandbLogger

__all__ = ["finish_wandb", "log_figures", "wandb_logger"]

_PATIENCE_S = 30.0


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
    if (begun := _begun(folder)) is not None:  # a run that goes on is the same one there
        arguments |= {"id": begun, "resume": "allow"}
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            run = wandb.init(mode=attempt, settings=wandb.Settings(**settings), **arguments)
            return WandbLogger(experiment=run, log_model=options["log_model"] and attempt == "online")
        except Exception as error:
            warnings.warn(f"W&B could not start {attempt} ({type(error).__name__}: {error})", stacklevel=2)
    return None


def log_figures(figures: Mapping[str, Figure]) -> None:
    """Add figures to the open W&B run, if there is one."""
    if wandb.run is not None:
        wandb.run.log({f"figures/{name}": wandb.Image(figure) for name, figure in figures.items()})


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
