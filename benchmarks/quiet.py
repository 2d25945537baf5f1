"""What the benchmarks share: a trainer that says and writes nothing, and a stopwatch."""

import resource
import time
from typing import Any

import pytorch_lightning as pl


def quiet_trainer(epochs: int = 1, **options: Any) -> pl.Trainer:
    """Build a trainer for one process on the CPU, without output, files or checks before training."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        **options,
    )


def cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Stopwatch(pl.Callback):
    """Wall and CPU time of the training batches of an epoch, without the set-up of fit."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self._began = time.perf_counter(), cpu_seconds()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.wall_s, self.cpu_s = time.perf_counter() - self._began[0], cpu_seconds() - self._began[1]
