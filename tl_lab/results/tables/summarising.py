"""Summarise runs: one row per setting, differences seed by seed, and methods by tasks.

This module does not import torch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tl_lab.results.names import is_detail, leads, metric_rank, split_name
from tl_lab.results.tables.collecting import FIRST, OVERRIDE
from tl_lab.results.tables.reproduction import Crossed, Reproduces, arrange, cross, swept_keys
from tl_lab.results.tables.statistics import CONFIDENCE, FEWEST_SEEDS, paired_t, t_quantile

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "find_crossed",
    "headline",
    "independent",
    "leading_on_target",
    "metric_columns",
    "paired_differences",
    "summarise",
]

_METHODS = "domain_adaptation"  # the swept key whose values are compared by default


def summarise(df: "pd.DataFrame", confidence: float = CONFIDENCE) -> "pd.DataFrame":
    """Summarise runs over seeds, one row per setting.

    The half-width of a metric's interval is ``t((1 + confidence) / 2, n - 1) * s / sqrt(n)``, with Student's t
    and the standard deviation s over seeds (ddof 1). There is no interval for n < 3. Only completed runs count. Of
    several runs with the same setting and seed, only the newest counts, because they are not independent repetitions.

    Args:
        df: runs as returned by :func:`collect`.
        confidence: level of the interval, in (0, 1).

    Returns:
        Columns ``setting``, ``n`` (seeds), ``not_completed`` (runs), ``duration_s`` (mean), and for each metric
        ``<metric> mean``, ``<metric> ci95`` (half-width; NaN for n < 3), ``<metric> low`` and ``<metric> high`` (the
        two values for n = 2; otherwise NaN) and ``<metric> n``.
    """
    import pandas as pd

    completed = independent(df)
    metrics = metric_columns(df)
    every = df.groupby("setting", sort=False)
    groups = completed.groupby("setting", sort=False)
    order = list(every.groups)
    table = pd.DataFrame({"setting": order})
    table["n"] = groups.size().reindex(order, fill_value=0).to_numpy()
    table["not_completed"] = (df["status"] != "completed").groupby(df["setting"], sort=False).sum().to_numpy()
    table["duration_s"] = groups["duration_s"].mean().reindex(order).to_numpy(dtype=float)
    columns = {}
    for name in metrics:
        of = groups[name]
        n = of.count().reindex(order, fill_value=0).to_numpy()
        spread = of.std(ddof=1).reindex(order).to_numpy(dtype=float)
        quantile = np.where(n < FEWEST_SEEDS, np.nan, t_quantile(n, confidence))
        columns[f"{name} mean"] = of.mean().reindex(order).to_numpy(dtype=float)
        columns[f"{name} ci95"] = quantile * spread / np.sqrt(np.maximum(n, 1))
        for end, values in (("low", of.min()), ("high", of.max())):
            columns[f"{name} {end}"] = np.where(n == 2, values.reindex(order).to_numpy(dtype=float), np.nan)
        columns[f"{name} n"] = n
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def paired_differences(
    df: "pd.DataFrame", metric: str, baseline: str = "domain_adaptation=none", confidence: float = CONFIDENCE
) -> "pd.DataFrame":
    """Compare each setting with its baseline over common seeds.

    The baseline of a setting differs from it only in the key of the baseline. The interval is Student's t interval of
    the mean of the paired differences, with n - 1 degrees of freedom, not corrected for the number of comparisons.

    Args:
        df: runs as returned by :func:`collect`.
        metric: the metric's name.
        baseline: the override that makes a setting a baseline.
        confidence: level of the interval, in (0, 1).

    Returns:
        A row for each setting that has a baseline and at least one common seed: ``setting``, ``baseline``, ``n``,
        ``mean``, ``ci95`` (half-width; NaN for n < 3), ``positive`` (the number of seeds with a difference
        above zero), ``p`` of the paired t-test, and ``low`` and ``high`` (the two differences for n = 2; otherwise
        NaN). Empty if there is no baseline.
    """
    import pandas as pd

    names = ["setting", "baseline", "n", "mean", "ci95", "positive", "p", "low", "high"]
    key, _, value = baseline.partition("=")
    if f"{OVERRIDE}{key}" not in df or metric not in df:
        return pd.DataFrame(columns=names)
    completed = independent(df)
    others = [name for name in df if name.startswith(OVERRIDE) and name not in (OVERRIDE + key, OVERRIDE + "seed")]
    rest = completed[others].fillna("").agg("\0".join, axis=1) if others else pd.Series("", completed.index)
    is_baseline = completed[OVERRIDE + key] == value
    scores = completed[["setting", "seed", metric]].assign(rest=rest)
    of_baseline = scores[is_baseline].rename(columns={"setting": "baseline", metric: "base"})
    both = scores[~is_baseline].merge(of_baseline, on=["rest", "seed"]).dropna(subset=[metric, "base"])
    rows = []
    for (setting, base), pairs in both.groupby(["setting", "baseline"], sort=False):
        difference = (pairs[metric] - pairs["base"]).to_numpy(dtype=float)
        found = paired_t(difference, confidence)
        positive = int((difference > 0).sum())
        rows.append((setting, base, found.n, found.mean, found.half, positive, found.p, *found.both))
    return pd.DataFrame(rows, columns=names)


def find_crossed(runs: "pd.DataFrame", expected: Reproduces | None = None) -> tuple[Crossed, str, str] | None:
    """Arrange runs by method and task, if the experiment defines these, or if methods and one other key were swept.

    Args:
        runs: runs as returned by :func:`collect`.
        expected: published values for the experiment.

    Returns:
        The table, its metric, and the key of the tasks (empty for one task); None if runs form no such table.
    """
    done = independent(runs)
    if expected is not None:
        table = arrange(done, expected)
        return None if table is None else (table, expected.metric, expected.tasks or "")
    others = [key for key in swept_keys(runs) if key != _METHODS]
    metric = leading_on_target(headline(runs))
    if metric is None or len(others) != 1 or _METHODS not in swept_keys(runs):
        return None
    table = cross(done, metric, _METHODS, others[0])
    return None if table is None else (table, metric, others[0])


def metric_columns(df: "pd.DataFrame") -> list[str]:
    """List the columns that contain metrics."""
    from pandas.api.types import is_numeric_dtype

    names = [name for name in df if name not in FIRST and not name.startswith(OVERRIDE)]
    return [name for name in names if is_numeric_dtype(df[name])]


def headline(df: "pd.DataFrame") -> list[str]:
    """List the metrics of the table: those of the test sets or, without them, of validation.

    Losses and half-widths are omitted, and of the metrics of a single task all but the main one.
    """
    named = [(name, *split_name(name)) for name in metric_columns(df) if df[name].notna().any()]
    for wanted in ("test", "val"):
        chosen = [
            name for name, split, _, metric in named
            if split == wanted and "loss" not in metric and not metric.endswith("_ci95") and not is_detail(name)
        ]  # fmt: skip
        if chosen:
            return sorted(chosen, key=lambda name: metric_rank(name)[2:])  # the main metric of all sets first
    return []


def leading_on_target(names: Sequence[str]) -> str | None:
    """Return the target's main metric, by which adaptation methods are compared; None if there is no target."""
    return next((name for name in names if leads(name) and split_name(name).part.endswith("target")), None)


def independent(df: "pd.DataFrame") -> "pd.DataFrame":
    """Select the newest completed run of each setting and seed, and all completed runs of unknown seed."""
    completed = df[df["status"] == "completed"]
    newest = completed.sort_values("written", kind="stable")
    repeated = newest["seed"].notna() & newest.duplicated(["setting", "seed"], keep="last")
    return newest[~repeated].sort_index()
