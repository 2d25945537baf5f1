"""Sweeps over tiny jobs, shared by the tests of sweeps."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from tl_lab.cli.train import main

__all__ = ["TINY", "command", "results", "sweep", "table"]

TINY = ["data=digits", "backbone=mlp", "domain_adaptation=none", "logger=none", "data.batch_size=32"]
TINY += ["trainer.max_epochs=2", "trainer.limit_train_batches=3"]
_TIMES = ["duration_s", "written"]


def command(folder: Path, *overrides: str) -> list[str]:
    """Return the arguments of a sweep over tiny jobs; later overrides win over the small defaults."""
    given = {text.partition("=")[0] for text in overrides}
    small = [text for text in TINY if text.partition("=")[0] not in given]
    return ["-m", *small, *overrides, f"hydra.sweep.dir={folder}"]


def sweep(folder: Path, *overrides: str) -> int:
    """Run a sweep in this process (its jobs are others), and give its exit code."""
    try:
        main(command(folder, *overrides))
    except SystemExit as end:
        return end.code  # type: ignore[return-value]
    return 0


def results(run: Path) -> dict[str, Any]:
    """Read what a run has written."""
    return json.loads((run / "results.json").read_text())


def table(folder: Path) -> pd.DataFrame:
    """Read the sweep's table, without what the clock says."""
    return pd.read_csv(folder / "results.csv").drop(columns=_TIMES)
