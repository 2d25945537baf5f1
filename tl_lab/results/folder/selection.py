"""Which epoch each validator would have chosen, and what that is worth on the target; from a run's ``metrics.csv``.

Nothing here imports torch.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ORACLE", "read_rows", "selection"]

ORACLE = "oracle/target/acc"
"""The target's accuracy after each epoch, by the labels of its test part: compared with, never chosen by."""


def read_rows(path: str | Path) -> list[dict[str, float]]:
    """Read the filled cells of ``metrics.csv``, a mapping a row, in its order; NaN stays NaN."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def selection(rows: Sequence[Mapping[str, float]], validators: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Look up the epoch that each validator chooses, and the target accuracy there.

    Args:
        rows: of ``metrics.csv``, in the order of their steps.
        validators: name -> metric and mode, ``max`` or ``min``.

    Returns:
        A row for each validator whose metric was measured, in their order; then one for the last epoch and one for
        the best by the target's test labels, which is an oracle. Each with ``chooser``, ``metric`` (None for the last
        epoch), ``value`` of it, ``epoch`` (from 1), ``step``, ``target_acc`` (None where the target has no labels)
        and ``oracle``, whether labels of the target chose. Of equally good epochs the earliest counts; what is not
        finite is passed over.
    """
    found = [_chosen(rows, name, metric, mode) for name, (metric, mode) in validators.items()]
    chosen = [row for row in found if row is not None]
    validated = [row for row in rows if ORACLE in row or any(metric in row for metric, _ in validators.values())]
    if not chosen or not validated:
        return []
    oracle = _chosen(rows, "oracle (target test labels)", ORACLE, "max")
    return [*chosen, _said("last epoch", validated[-1], None), *([oracle | {"oracle": True}] if oracle else [])]


def _chosen(rows: Sequence[Mapping[str, float]], name: str, metric: str, mode: str) -> dict[str, Any] | None:
    scored = [row for row in rows if math.isfinite(row.get(metric, math.nan)) and "epoch" in row]
    if not scored:
        return None
    sign = 1 if mode == "max" else -1
    return _said(name, max(scored, key=lambda row: sign * row[metric]), metric)  # the first of equals


def _said(name: str, row: Mapping[str, float], metric: str | None) -> dict[str, Any]:
    return {
        "chooser": name,
        "metric": metric,
        "value": None if metric is None else row[metric],
        "epoch": int(row["epoch"]) + 1,
        "step": int(row["step"]),
        "target_acc": row.get(ORACLE),
        "oracle": False,
    }
