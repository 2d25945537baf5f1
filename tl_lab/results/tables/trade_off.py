"""Trade-off of settings on a task stream between the last task and the earlier tasks.

This module does not import torch.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_lab.results.names import leading_metric, leads
from tl_lab.results.tables.statistics import CONFIDENCE, both_of, half_width

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["leading_task_metric", "lines_of_settings", "task_accuracies", "trade_off"]

_OVERRIDE = "override."
_OF_TASK = re.compile(r"test/task(\d+)(/target)?/(\w+)")


def task_accuracies(metrics: Mapping[str, Any]) -> list[float]:
    """Find the main test metric of each task of a stream, in order; for pairs of domains, that of each target.

    Args:
        metrics: metrics by name; others are ignored.

    Returns:
        T values; empty if there are no tasks, or one of them has no value.
    """
    leading = leading_task_metric(metrics)
    found: dict[str, dict[int, float]] = {"": {}, "/target": {}}
    for name, value in metrics.items():
        if (match := _OF_TASK.fullmatch(name)) and match[3] == leading and value is not None and np.isfinite(value):
            found[match[2] or ""][int(match[1])] = float(value)
    of_tasks = found["/target"] or found[""]
    return [of_tasks[task] for task in sorted(of_tasks)] if set(of_tasks) == set(range(1, len(of_tasks) + 1)) else []


def leading_task_metric(names: Iterable[str]) -> str | None:
    """Return the name of the main metric of a stream's tasks; None if there is none."""
    return leading_metric(name for name in names if _OF_TASK.fullmatch(str(name)) and leads(name))


def trade_off(runs: "pd.DataFrame", confidence: float = CONFIDENCE) -> "pd.DataFrame":
    """Summarise the scores of settings on the last task of a stream, and the mean score on the earlier tasks.

    Intervals are Student's t intervals over runs, that is, over seeds.

    Args:
        runs: completed runs as returned by :func:`tl_lab.results.tables.collecting.collect`, without repetitions.
        confidence: level of the intervals, in (0, 1).

    Returns:
        A row for each setting whose runs have at least two tasks: ``setting``, ``n``, ``last mean``, ``last ci95``
        (half-width; NaN for n < 3), ``last low`` and ``last high`` (the two values for n = 2; otherwise NaN), the same
        columns for ``earlier``, and ``line`` and ``value`` of :func:`lines_of_settings`. ``attrs["metric"]`` is the
        name of the metric.
    """
    import pandas as pd

    overrides, rows = {}, []
    metric = leading_task_metric(runs)
    for setting, of_setting in runs.groupby("setting", sort=False) if metric else ():
        records = of_setting.to_dict("records")
        of_tasks = [found for found in map(task_accuracies, records) if len(found) > 1]
        if of_tasks:
            last, earlier = [found[-1] for found in of_tasks], [float(np.mean(found[:-1])) for found in of_tasks]
            rows.append((setting, len(of_tasks), *_estimate(last, confidence), *_estimate(earlier, confidence)))
            overrides[str(setting)] = _overrides(records[0])
    columns = [f"{name} {what}" for name in ("last", "earlier") for what in ("mean", "ci95", "low", "high")]
    table = pd.DataFrame(rows, columns=["setting", "n", *columns])
    table.attrs["metric"] = metric
    lines = lines_of_settings(overrides)
    for i, column in enumerate(("line", "value")):
        table[column] = [lines.get(setting, ("", ""))[i] for setting in table["setting"]]
    return table


def lines_of_settings(settings: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[str, str]]:
    """Group settings that differ in a single number into lines, sorted by the number.

    If there are several such keys, the one with the most values is used first.

    Args:
        settings: overrides of each setting, by the name of the setting.

    Returns:
        For each setting, the name of its line and its number as text, sorted by line and number; settings that are on
        no line are omitted.
    """
    keys = dict.fromkeys(key for overrides in settings.values() for key in overrides if key != "seed")
    varying = [key for key in keys if len({overrides.get(key) for overrides in settings.values()}) > 1]
    values = {key: {overrides.get(key) for overrides in settings.values()} for key in varying}
    numeric = [key for key in varying if sum(_is_number(value) for value in values[key]) > 1]
    found: dict[str, tuple[str, str]] = {}
    for key in sorted(numeric, key=lambda key: -len(values[key])):
        groups: dict[tuple[str | None, ...], list[str]] = {}
        for setting, overrides in settings.items():
            if setting not in found and _is_number(overrides.get(key)):
                groups.setdefault(tuple(overrides.get(other) for other in varying if other != key), []).append(setting)
        for members in groups.values():
            if len(members) > 1:
                rest = [f"{k}={v}" for k, v in settings[members[0]].items() if k in varying and k != key]
                members.sort(key=lambda setting: float(settings[setting][key]))
                name = " ".join([*rest, f"over {key}"])
                found |= {setting: (name, settings[setting][key]) for setting in members}
    return found


def _estimate(values: Sequence[float], confidence: float) -> tuple[float, float, float, float]:
    return (float(np.mean(values)), half_width(values, confidence), *both_of(values))


def _overrides(row: Mapping[str, Any]) -> dict[str, str]:
    given = {name.removeprefix(_OVERRIDE): value for name, value in row.items() if name.startswith(_OVERRIDE)}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _is_number(text: str | None) -> bool:
    try:
        return text is not None and bool(np.isfinite(float(text)))
    except ValueError:
        return False
