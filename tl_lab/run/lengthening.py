"""Continuing a run for more epochs than it was configured for."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from tl_lab.config import config_hash, to_plain
from tl_lab.config.instantiate import class_of
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, read_results, write_json, write_text
from tl_lab.run.checkpoints import has_stopped, last_checkpoint, read_checkpoint
from tl_lab.texts import counted

__all__ = ["lengthen", "lengthened_fact"]


def lengthen(folder: Path, cfg: DictConfig, epochs: int) -> None:
    """Extend the training of a finished run; its configuration and results record the extension.

    Learning rates and weights that depend on training progress (share of all updates done) jump back where the run is
    resumed, so that it differs from a run configured for all epochs: ``lengthened_from`` is part of its identity.

    Args:
        folder: of the run, completed or not.
        cfg: its configuration, which is modified.
        epochs: total number of epochs after the extension.

    Raises:
        UserError: the run cannot be extended: fewer epochs, a stream of tasks, no training, or an early stop.
    """
    plain, setting = to_plain(cfg), f"trainer.max_epochs={epochs}"
    if cfg.trainer.max_epochs is None:
        raise UserError(f"{setting}: the run of {folder} counts updates, trainer.max_updates: start a new one")
    before = int(cfg.trainer.max_epochs)
    if epochs == before:
        return
    if epochs < before:
        raise UserError(f"{setting}: the run of {folder} has {before} epochs; it can be extended, not shortened")
    if class_of(plain["data"]).in_tasks:
        raise UserError(f"{setting}: the tasks of a stream follow each other, so that none can be extended")
    if not class_of(plain["strategy"]).trains:
        raise UserError(f"{setting}: this strategy trains nothing")
    checkpoint = last_checkpoint(folder)
    if checkpoint is not None and has_stopped(read_checkpoint(checkpoint)):
        raise UserError(f"{setting}: early stopping has ended this run, and would end it again: start a new one")
    results = read_results(folder)
    earlier: dict[str, Any] = {"epochs": before, **{key: results.get(key) for key in ("metrics", "tested_checkpoint")}}
    with open_dict(cfg):
        cfg.trainer.max_epochs = epochs
        cfg.lengthened_from = cfg.get("lengthened_from") or before
    stored = {**to_plain(cfg), "resume": None}
    write_json(
        folder / RESULTS,
        {
            **results,
            "status": "running",
            "lengthened": [*(results.get("lengthened") or []), earlier],
            # a kill may come between the two files: either configuration is valid for this run
            "config_hash": config_hash(cfg),
            "config_hash_before": results.get("config_hash"),
        },
    )
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(stored)))


def lengthened_fact(lengthened_from: int | None, epochs: int | None) -> dict[str, str]:
    """Report that a run was extended."""
    if not lengthened_from:
        return {}
    return {"lengthened": f"configured for {counted(lengthened_from, 'epoch')}, extended to {epochs}"}
