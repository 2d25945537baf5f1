"""Display the progress of a run: a bar on a terminal, one line per epoch in a log."""

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from tl_lab.results.names import duration, format_metric, is_share, leads, split_name

__all__ = ["EpochLines", "progress_callback"]

_WIDTH = 100


def progress_callback(enabled: bool) -> ProgressBar | None:
    """Choose how progress is displayed.

    Use it as ``Trainer(callbacks=[bar, ...] if bar else [...], enable_progress_bar=bar is not None)``.

    Args:
        enabled: whether progress is displayed at all.

    Returns:
        Lightning's rich bar if both outputs are a terminal, otherwise :class:`EpochLines`; None if not enabled.
    """
    if not enabled:
        return None
    if sys.stdout.isatty() and sys.stderr.isatty():
        return _Bar(leave=False, theme=RichProgressBarTheme(metrics_format=".3g"))
    return EpochLines()


class _Bar(RichProgressBar):
    """Lightning's bar, with the loss that the module logged last."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        """Return the values next to the bar."""
        return {**super().get_metrics(trainer, pl_module), **_last_loss(pl_module)}


class EpochLines(ProgressBar):
    """Prints one line after each training epoch, for logs.

    An example is ``epoch 3/20  train/loss 0.413  val/source/acc 93.2 %  1.8 s  31 s left``. The remaining time is
    estimated from the epochs of this session only, so that earlier epochs of a resumed run do not distort it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._start = self._epoch_start = 0.0
        self._done = 0

    def disable(self) -> None:
        """Disable the output; Lightning calls this in all processes except the first."""
        self._enabled = False

    def enable(self) -> None:
        """Enable the output."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the session."""
        self._start = time.monotonic()
        self._done = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of the epoch."""
        self._done += 1
        now = time.monotonic()
        epoch, total = trainer.current_epoch + 1, _epochs(trainer)
        words = [f"epoch {epoch}/{total}" if total else f"epoch {epoch}"]
        times = [duration(now - self._epoch_start)]
        if total and total > epoch:
            times.append(f"{duration((now - self._start) / self._done * (total - epoch))} left")
        room = _WIDTH - len("  ".join(words + times))
        for text in _metrics({**_last_loss(pl_module), **trainer.callback_metrics}, _watched(trainer)):
            room -= len(text) + 2
            if room < 0:
                break
            words.append(text)
        if self._enabled:
            _print("  ".join(words + times))


def _last_loss(module: pl.LightningModule) -> dict[str, float]:
    loss = getattr(module, "last_loss", None)
    return {} if loss is None else {"train/loss": loss}


@rank_zero_only
def _print(text: str) -> None:
    # one call per line, because several processes may share the log
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _epochs(trainer: pl.Trainer) -> int | None:
    """Return the total number of epochs, from the limit on epochs or steps that is reached first; None if neither."""
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limits.append(trainer.max_epochs)
    batches = trainer.num_training_batches / max(trainer.accumulate_grad_batches, 1)
    if trainer.max_steps >= 0 and math.isfinite(batches) and batches >= 1:
        limits.append(math.ceil(trainer.max_steps / batches))
    return min(limits, default=None)


def _watched(trainer: pl.Trainer) -> list[str]:
    """Return the metrics by which checkpoints are chosen and training is stopped."""
    return [name for each in trainer.callbacks if (name := getattr(each, "monitor", None)) is not None]  # type: ignore[attr-defined]


def _metrics(logged: dict[str, Any], watched: Sequence[str] = ()) -> list[str]:
    """Return the values of a line: the training loss, monitored and main validation metrics, then validation losses.

    If there is a mean over tasks, the tasks' own values are left out.
    """
    train = [name for name in ("train/loss", "train/loss_epoch", "loss") if name in logged][:1]
    val = [name for name in logged if split_name(name).split == "val"]
    if any(leads(name) and not split_name(name).part for name in val):  # of the whole set, or the mean over its tasks
        val = [name for name in val if name in watched or not split_name(name).part]
    first = [name for name in val if leads(name)]
    losses = [name for name in val if split_name(name).metric == "loss"]
    names = dict.fromkeys([*train, *(name for name in watched if name in val), *first, *losses])
    return [f"{name} {_value(name, float(logged[name]))}" for name in names]


def _value(name: str, value: float) -> str:
    return format_metric(name, value) + " %" if is_share(split_name(name).metric) else f"{value:.3g}"
