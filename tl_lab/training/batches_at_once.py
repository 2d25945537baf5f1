"""Training on several batches in one training step of Lightning, whose overhead per step exceeds a short update."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, ProgressBar

__all__ = ["looks_at_batches", "next_batch"]

_HOOKS = ("on_train_batch_start", "on_train_batch_end")
_COUNTED = ("ready", "started", "processed", "completed")


def looks_at_batches(trainer: pl.Trainer) -> bool:
    """Whether a callback must be called before or after every batch; progress bars do not count."""
    return any(_looks(callback) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def _looks(callback: Callback) -> bool:
    if isinstance(callback, ProgressBar):
        return False
    if isinstance(callback, ModelCheckpoint):
        return callback._every_n_train_steps > 0 or callback._train_time_interval is not None
    # a LambdaCallback has hooks of its own
    return any(getattr(getattr(callback, hook), "__func__", None) is not getattr(Callback, hook) for hook in _HOOKS)


def next_batch(trainer: pl.Trainer) -> tuple[Any, int]:
    """Return the epoch's next batch within a training step, and update Lightning's counters.

    Args:
        trainer: the trainer, in an epoch with batches left; its data module must not move batches to the device.

    Returns:
        The batch in the trainer's precision, and its index in the epoch.
    """
    loop = trainer.fit_loop.epoch_loop
    batch, _, _ = next(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]
    for progress in (loop.batch_progress.total, loop.batch_progress.current):
        for state in _COUNTED:
            setattr(progress, state, getattr(progress, state) + 1)
    loop._batches_that_stepped += 1
    return trainer.precision_plugin.convert_input(batch), loop.batch_idx
