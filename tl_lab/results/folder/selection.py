"""Find in a run's ``metrics.csv`` the epoch that each validator would have chosen, and the target score there.

This module does not import torch.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tl_lab.results.names import ASSUMED, leading_metric, less_is_better

__all__ = ["ORACLE", "oracle_metric", "reached", "read_rows", "selection"]

_ORACLE = "oracle/target/"
ORACLE = _ORACLE + ASSUMED
"""Target accuracy after each epoch on the labelled test part; for comparison only, never for selection."""
_REACHED = "target_"


def read_rows(path: str | Path) -> list[dict[str, float]]:
    """Read the non-empty cells of ``metrics.csv``, one mapping per row, in order; NaN stays NaN."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]


def oracle_metric(rows: Iterable[Mapping[str, float]]) -> str:
    """Return the name of the target's main metric on its labelled test part; for comparison only, never for selection.

    Args:
        rows: rows of ``metrics.csv``.

    Returns:
        ``oracle/target/<metric>``; ``oracle/target/acc`` if the target was not scored.
    """
    names = {name: None for row in rows for name in row if name.startswith(_ORACLE)}
    return _ORACLE + (leading_metric(names) or ASSUMED)


def reached(choice: Mapping[str, Any]) -> tuple[str, float | None] | None:
    """Read the target score of a choice.

    Args:
        choice: a row of :func:`selection`, as returned or as stored in a run's results.

    Returns:
        The metric and its value, which is None if the target has no labels; None if the row contains no target score.
    """
    key = next((key for key in choice if key.startswith(_REACHED)), None)
    return None if key is None else (key.removeprefix(_REACHED), choice[key])


def selection(rows: Sequence[Mapping[str, float]], validators: Mapping[str, tuple[str, str]]) -> list[dict[str, Any]]:
    """Find the epoch that each validator chooses, and the target's main metric there.

    Of several equally good epochs, the earliest is chosen; values that are not finite are ignored.

    Args:
        rows: rows of ``metrics.csv``, in the order of their steps.
        validators: metric and mode (``max`` or ``min``) of each validator by name.

    Returns:
        A row for each validator whose metric was measured, in order; then one for the last epoch, and one for the best
        epoch by the target's test labels (an oracle). Each has ``chooser``, ``metric`` (None for the last epoch) and
        its ``value``, ``epoch`` (from 1), ``step``, ``target_<metric>`` (None if the target has no labels;
        :func:`reached` reads it) and ``oracle`` (whether target labels were used).
    """
    oracle = oracle_metric(rows)
    found = [_chosen(rows, oracle, name, metric, mode) for name, (metric, mode) in validators.items()]
    chosen = [row for row in found if row is not None]
    validated = [row for row in rows if oracle in row or any(metric in row for metric, _ in validators.values())]
    if not chosen or not validated:
        return []
    best = _chosen(rows, oracle, "oracle (target test labels)", oracle, "min" if less_is_better(oracle) else "max")
    return [
        *chosen,
        _selection_row(oracle, "last epoch", validated[-1], None),
        *([best | {"oracle": True}] if best else []),
    ]


def _chosen(
    rows: Sequence[Mapping[str, float]], oracle: str, name: str, metric: str, mode: str
) -> dict[str, Any] | None:
    scored = [row for row in rows if math.isfinite(row.get(metric, math.nan)) and "epoch" in row]
    if not scored:
        return None
    sign = 1 if mode == "max" else -1
    best = max(scored, key=lambda row: sign * row[metric])  # the first of equal rows
    return _selection_row(oracle, name, best, metric)


def _selection_row(oracle: str, name: str, row: Mapping[str, float], metric: str | None) -> dict[str, Any]:
    return {
        "chooser": name,
        "metric": metric,
        "value": None if metric is None else row[metric],
        "epoch": int(row["epoch"]) + 1,
        "step": int(row["step"]),
        _REACHED + oracle.removeprefix(_ORACLE): row.get(oracle),
        "oracle": False,
    }
