"""Learning curves of settings, with mean and spread over seeds, from the runs' ``metrics.csv``.

This module does not import torch.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tl_lab.results.names import leads, metric_rank, split_name

__all__ = ["Curve", "curve_names", "mean_curve", "read_curves"]

_FILE = "metrics.csv"


@dataclass(frozen=True)
class Curve:
    """A metric over training, aggregated over seeds.

    Args:
        steps: numbers of updates in ascending order, ``(T,)``.
        mean: mean over the seeds that logged a value at each step, ``(T,)``.
        spread: standard deviation over seeds (ddof 1), ``(T,)``; for two seeds half their difference; NaN for one seed.
        n: number of seeds.
    """

    steps: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    n: int


def curve_names(folder: Path) -> list[str]:
    """List the metrics of a run whose curves are compared: the main validation metric and the training loss.

    Args:
        folder: folder of the run.

    Returns:
        At most two names; empty if the run has logged nothing.
    """
    if not (folder / _FILE).is_file():
        return []
    try:
        with (folder / _FILE).open(encoding="utf-8", newline="") as file:
            names = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError):
        return []
    shown = []
    for split in ("val", "train"):
        of_split = [name for name in names if split_name(name).split == split]
        found = [name for name in of_split if split == "val" and leads(name)]
        found = found or [name for name in of_split if split_name(name).metric == "loss"]
        shown += sorted(found, key=metric_rank)[:1]
    return shown


def read_curves(folder: Path, names: Sequence[str]) -> dict[str, dict[int, float]]:
    """Read the curves of one run.

    Args:
        folder: folder of the run.
        names: names of the metrics.

    Returns:
        For each metric, its finite values by step; empty if the file is missing or damaged.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    if not (folder / _FILE).is_file():
        return found
    try:
        with (folder / _FILE).open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            head = next(rows, [])
            step = head.index("step")
            places = {name: head.index(name) for name in names if name in head}
            for row in rows:
                for name, place in places.items():
                    if row[place]:
                        found[name][int(row[step])] = float(row[place])
    except (OSError, ValueError, IndexError):
        return {name: {} for name in names}
    return {name: {s: v for s, v in curve.items() if np.isfinite(v)} for name, curve in found.items()}


def mean_curve(runs: Sequence[dict[int, float]]) -> Curve | None:
    """Average the curves of a metric over runs, step by step.

    Args:
        runs: values by step, for each run.

    Returns:
        The curve; None if nothing was logged. Steps that are missing in some runs are omitted, because means over
        different seeds are not comparable.
    """
    runs = [run for run in runs if run]
    counts: dict[int, int] = {}
    for run in runs:
        for step in run:
            counts[step] = counts.get(step, 0) + 1
    steps = sorted(step for step, count in counts.items() if count == max(counts.values()))
    if not steps:
        return None
    values = [[run[step] for run in runs if step in run] for step in steps]
    spread = [np.ptp(at) / 2 if len(at) == 2 else np.std(at, ddof=1) if len(at) > 2 else np.nan for at in values]
    return Curve(np.array(steps), np.array([np.mean(at) for at in values]), np.array(spread), max(counts.values()))
