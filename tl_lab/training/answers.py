"""Correctness of each test sample, stored with a run's results so that runs can be compared sample by sample."""

import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from tl_lab.results.folder.files import replacing

__all__ = ["ANSWERS", "KeepAnswers"]

ANSWERS = "answers.csv"
"""The file in a run's folder: columns ``set``, ``index`` (position in the set) and ``right`` (1 or 0)."""


class KeepAnswers(Callback):
    """Write ``answers.csv`` after the test of a classifier; no file is written for other problems.

    In a configuration: ``+callbacks.answers._target_=tl_lab.training.answers.KeepAnswers``.
    """

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Make the strategy record whether its predictions are correct."""
        pl_module.answers = {}

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the file, unless there are several processes, each of which has only a share of the answers."""
        answers, pl_module.answers = pl_module.answers, None
        if trainer.world_size > 1 or not answers:
            return
        with replacing(Path(trainer.default_root_dir) / ANSWERS) as beside, beside.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["set", "index", "right"])
            for name, rows in answers.items():
                table.writerows([name, index, right] for index, right in rows)
