"""A Lightning logger that writes one wide table, ``metrics.csv``."""

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_text
from tl_lab.results.names import split_name

__all__ = ["MetricsCsv", "RowsBeforeCheckpoints"]

_KEYS = ("epoch", "step")
_SPLIT_ORDER = {"train": 0, "val": 1, "test": 2}


class RowsBeforeCheckpoints(Callback):
    """Makes all loggers write before each checkpoint, because a resumed run logs only what follows the checkpoint."""

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the rows up to the checkpoint."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.flush()
            else:
                logger.save()
            if isinstance(logger, TensorBoardLogger):  # it keeps events in memory for up to two minutes
                logger.experiment.flush()


class MetricsCsv(Logger):
    """Writes every logged metric to one CSV file, with one row per step and one column per metric.

    Metrics of training and validation at the same step share a row; a cell is empty if nothing was logged. The whole
    file is replaced at the end, before and after each checkpoint, and every few seconds in between. In a distributed
    run, only the first process reads and writes.

    Args:
        path: the file, for example ``<run folder>/metrics.csv``.
        resume_step: None for a new file. For a resumed run, the last step before the checkpoint (in the ``step``
            column): rows up to this step are kept, and later ones are dropped, because they will be logged again; -1
            drops all rows.
        every_s: seconds between two writes of the file during training, >= 0.

    Raises:
        UserError: the file exists and ``resume_step`` is None, or the file cannot be read.
    """

    def __init__(self, path: str | Path, resume_step: int | None = None, every_s: float = 5.0) -> None:
        super().__init__()
        self.path = Path(path)
        self.every_s = every_s
        self._rows: dict[int, dict[str, float]] = {}
        self._last_write = -float("inf")
        self._write_cost = 0.0
        self._changed = False
        self._checkpointed = False
        if self.path.exists():
            self._take_up(resume_step)

    @property
    def name(self) -> str:
        """Empty, so that Lightning's default checkpoint folder is ``<run folder>/checkpoints``."""
        return ""

    @property
    def version(self) -> str:
        """Empty for the same reason as the name."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the file."""
        return str(self.path.parent)

    @property
    def rows(self) -> list[dict[str, float]]:
        """The rows so far, in the order of their steps."""
        return [self._rows[step] for step in sorted(self._rows)]

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because the configuration is stored in a separate file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Merge metrics into the row of their step; a later value of the same metric replaces an earlier one.

        Args:
            metrics: value of each metric by name; ``epoch`` is a separate column.
            step: optimisation step; None for the latest step.
        """
        if step is None:
            step = max(self._rows, default=0)
        row = self._rows.setdefault(int(step), {"step": int(step)})
        row.update({key: float(value) for key, value in metrics.items() if key != "step"})
        if "epoch" in metrics:
            row["epoch"] = int(metrics["epoch"])
        self._changed = True

    @rank_zero_only
    def save(self) -> None:
        """Write the file if it has not been written for a while (Lightning calls this after each logging)."""
        # a long table takes longer to write, so writing is limited to about two per cent of the time
        pause = max(self.every_s, 50 * self._write_cost)
        if self._checkpointed or time.monotonic() - self._last_write >= pause:
            self.flush()
            self._checkpointed = False

    @rank_zero_only
    def flush(self) -> None:
        """Write the file now, if anything has changed.

        Raises:
            UserError: the file cannot be written; the earlier one is left unchanged.
        """
        if not self._changed:
            return
        start = time.monotonic()
        write_text(self.path, self._text())
        self._last_write = time.monotonic()
        self._write_cost = self._last_write - start
        self._changed = False

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining rows, whether the run succeeds or fails."""
        self.flush()

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Write the file, because a resumed run logs only what follows the checkpoint."""
        self.flush()
        # Lightning logs the training metrics of an epoch just after the checkpoint at its end
        self._checkpointed = True

    def _text(self) -> str:
        names = dict.fromkeys(key for row in self.rows for key in row if key not in _KEYS)
        columns = [*_KEYS, *sorted(names, key=lambda name: _SPLIT_ORDER.get(split_name(name).split, 3))]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    @rank_zero_only
    def _take_up(self, resume_step: int | None) -> None:
        if resume_step is None:
            raise UserError(
                f"{self.path} already exists and belongs to an earlier run: choose a new folder, or resume that run."
            )
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    step = int(row["step"])
                    if step <= resume_step:
                        self._rows[step] = _numbers(row)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path} cannot be read ({error!r}): move it to another folder to continue without it."
            ) from error


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    """Read the non-empty cells of a row; epoch and step come first, as integers."""
    keys = {key: int(row[key]) for key in _KEYS if row.get(key)}
    return keys | {name: float(cell) for name, cell in row.items() if name not in _KEYS and cell != ""}
