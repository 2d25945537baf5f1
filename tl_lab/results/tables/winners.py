"""Find the best trial of a search, or of each compared method.

This module does not import torch.
"""

import math
from typing import TYPE_CHECKING

from tl_lab.results.names import format_metric, heading, less_is_better
from tl_lab.results.tables.collecting import OVERRIDE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe_winners"]

_METHODS = (f"{OVERRIDE}strategy", f"{OVERRIDE}domain_adaptation")


def describe_winners(runs: "pd.DataFrame") -> str:
    """Describe the trial with the best objective (the first of equal ones), for several methods that of each.

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`.

    Returns:
        A sentence; empty if the runs are not trials, or none has an objective.
    """
    objectives = runs.attrs.get("objectives") or []
    if not len(runs) or not runs["trial"].all():
        return ""
    judged = [number for number, one in enumerate(objectives) if one is not None and math.isfinite(one[1])]
    if not judged:
        return ""
    methods = [name for name in _METHODS if name in runs]
    best: dict[tuple[str, ...], int] = {}
    for number in sorted(judged, key=lambda number: (-objectives[number][1], number)):
        best.setdefault(tuple(str(runs[name].iloc[number]) for name in methods), number)
    metric = objectives[judged[0]][0]
    trials = f"{len(judged)} trial{'s' if len(judged) > 1 else ''} by {heading(metric)}"
    each = "; ".join(_describe_trial(runs, number, metric, objectives[number][1]) for number in best.values())
    return f"Best of {trials}{', for each method' if len(best) > 1 else ''}: {each}."


def _describe_trial(runs: "pd.DataFrame", number: int, metric: str, objective: float) -> str:
    row = runs.iloc[number]
    signed = -objective if less_is_better(metric) else objective
    value = row[metric] if metric in runs and row[metric] == row[metric] else signed
    setting = str(row["setting"]).replace("`", "'") or "as configured"
    return f"`{setting}` with {format_metric(metric, value)} (run {row['folder']})"
