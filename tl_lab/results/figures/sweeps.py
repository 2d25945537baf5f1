"""The figures of a sweep: settings with intervals, learning curves, ranks over data sets, and scores by labels.

This module does not import torch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tl_lab.results.figures.drawing import (
    GREY,
    INK,
    MARKED,
    SOURCE,
    STYLE,
    boxes_apart,
    class_colours,
    darker,
    keep_within,
    name_lines,
    shortened,
)
from tl_lab.results.names import heading, is_share, kind_of, readable, split_name
from tl_lab.results.tables.comparing import Ranking
from tl_lab.results.tables.curves import Curve
from tl_lab.results.tables.label_budgets import Budget

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["budgets_figure", "curves_figure", "parameters_figure", "ranks_figure", "settings_intervals"]

_SETTING = 90  # largest number of characters of a setting in a legend


@matplotlib.rc_context(STYLE)
def curves_figure(curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw learning curves: the mean over seeds, with a band of one standard deviation on either side.

    With two seeds, the band covers the range of both. Up to 25 points of a line are marked; a metric that was measured
    once, for example after the only epoch, is a point with a bar. All panels have the same updates.

    Args:
        curves: for each metric, which has its own panel, the curve of each setting by its name.

    Returns:
        The figure; settings have the same colours in all panels, and a legend below.
    """
    settings = list(dict.fromkeys(setting for panel in curves.values() for setting in panel))
    colours = dict(zip(settings, class_colours(len(settings)), strict=True))
    longest = min(max(map(len, settings), default=0), _SETTING)
    columns = 1 if longest > 45 else 2
    rows = -(-len(settings) // columns)
    width = max(4.6 * len(curves), columns * (0.5 + 0.07 * longest))  # of the panels, and of the legend
    figure = Figure(figsize=(width, 3.1 + 0.19 * rows), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False, sharex=True)[0]
    for ax, (name, panel) in zip(axes, curves.items(), strict=True):
        scale = _scale(name)
        for setting, curve in panel.items():
            mean, spread = scale * curve.mean, scale * curve.spread
            ax.plot(curve.steps, mean, color=colours[setting], marker="o" if len(mean) <= MARKED else "", ms=3.5)
            if len(mean) == 1:
                ax.vlines(curve.steps, mean - spread, mean + spread, color=colours[setting], alpha=0.4)
            elif np.isfinite(spread).any():
                band = mean - spread, mean + spread
                ax.fill_between(curve.steps, *band, color=colours[setting], alpha=0.18, lw=0)
        _keep_possible(ax, name, np.concatenate([curve.mean for curve in panel.values()]))
        ax.set_title(heading(name))
        ax.set_xlabel("update")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles = [Line2D([], [], color=colour, label=shortened(name, _SETTING)) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=8, labelcolor=INK)
    return figure


@matplotlib.rc_context(STYLE)
def ranks_figure(ranking: Ranking) -> Figure:
    """Draw methods by mean rank; a bar joins methods without a significant difference (Demsar, JMLR 2006, figure 1).

    Args:
        ranking: ranking of at least two methods.

    Returns:
        The figure, with the best method on the left.
    """
    count = len(ranking.methods)
    groups = ranking.alike()
    half = -(-count // 2)
    top = 0.9 + 0.28 * len(groups)  # below the bars
    figure = Figure(figsize=(7.2, 0.75 + 0.3 * (half + top)), layout="constrained")
    ax = figure.subplots()
    ax.set_axis_off()
    low, high, pad = 1.0, float(count), 0.32 * (count - 1)
    ax.set_xlim(low - pad, high + pad)
    ax.set_ylim(top + half + 0.2, -1.9)
    ax.hlines(0, low, high, color=INK, lw=1.2)
    for whole in range(1, count + 1):
        ax.vlines(whole, -0.18, 0, color=INK, lw=1.2)
        ax.text(whole, -0.32, str(whole), ha="center", va="bottom", color=GREY)
    ax.hlines(-1.35, low, low + ranking.critical, color=GREY, lw=1.6)
    ax.vlines([low, low + ranking.critical], -1.5, -1.2, color=GREY, lw=1.6)
    ax.text(low + ranking.critical + 0.02 * count, -1.35, f"CD = {ranking.critical:.2f}", va="center", color=GREY)
    for i, (method, rank) in enumerate(zip(ranking.methods, ranking.ranks, strict=True)):
        left = i < half
        height = top + (i if left else count - 1 - i)
        end = low - 0.06 * (count - 1) if left else high + 0.06 * (count - 1)
        ax.plot([rank, rank, end], [0, height, height], color="#3f90da", lw=1.0, solid_joinstyle="round")
        ax.plot(rank, 0, "o", color="#3f90da", ms=5, mec="white", mew=0.8, clip_on=False)
        text = f"{method}  {rank:.2f}" if left else f"{rank:.2f}  {method}"
        ax.text(end, height, f" {text} ", ha="right" if left else "left", va="center", color=INK)
    for i, (first, last) in enumerate(groups):
        y = 0.45 + 0.28 * i
        ax.hlines(y, ranking.ranks[first] - 0.03, ranking.ranks[last] + 0.03, color=INK, lw=3.2)
    ax.set_title(f"Mean rank over {ranking.tasks} data sets", loc="left")
    return figure


@matplotlib.rc_context(STYLE)
def budgets_figure(metric: str, budgets: Sequence[Budget]) -> Figure:
    """Draw the main metric against the number of labels, with one line per way of training, and intervals over seeds.

    Args:
        metric: name of the main metric.
        budgets: rows as returned by :func:`tl_lab.results.tables.label_budgets.find_budgets`.

    Returns:
        The figure; the axis of labels is logarithmic.
    """
    ways = list(dict.fromkeys(budget.way for budget in budgets))
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    ax = figure.subplots()
    ax.set_xscale("log")
    lines, scale = [], _scale(metric)
    for i, (way, colour) in enumerate(zip(ways, class_colours(len(ways)), strict=True)):
        beside = 1 + 0.025 * (i - (len(ways) - 1) / 2)  # separates intervals at the same number of labels
        own = [budget for budget in budgets if budget.way == way]
        x, y = [beside * budget.labels for budget in own], [scale * budget.mean for budget in own]
        half = np.nan_to_num([scale * budget.half for budget in own])
        lines += ax.plot(x, y, "-o", color=colour, ms=5.5, mec="white", mew=0.9)
        ax.vlines(x, y - half, y + half, color=darker(colour, 0.0), lw=1.4, alpha=0.6)
        low, high = scale * np.array([budget.both for budget in own]).T
        ax.vlines(x, low, high, color=colour, lw=1.0, ls=":")
    ticks = sorted({budget.labels: budget.everything for budget in budgets}.items())
    names = {labels: f"{labels:,}" + ("\n(all)" if everything else "") for labels, everything in ticks}
    ax.set_xticks(list(names))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names.get(round(x), "")))
    ax.minorticks_off()
    _keep_possible(ax, metric, np.array([budget.mean for budget in budgets]))
    ax.set_xlabel("labels in the training set")
    ax.set_title(heading(metric))
    name_lines(ax, lines, [shortened(way.replace("strategy=", ""), 44) for way in ways], 3.2)
    return figure


@matplotlib.rc_context(STYLE)
def parameters_figure(table: "pd.DataFrame", metric: str) -> Figure:
    """Draw the main metric against the number of trainable parameters, with one point and interval per setting.

    Args:
        table: one row per setting, with the columns ``setting``, ``parameters``, ``<metric> mean``, ``<metric> ci95``
            and, for two seeds, ``<metric> low`` and ``<metric> high``.
        metric: the main metric's name.

    Returns:
        The figure; the axis of parameters is logarithmic.
    """
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.set_xscale("log")
    scale, x = _scale(metric), table["parameters"].to_numpy(dtype=float)
    mean, half = (scale * table[f"{metric} {what}"].to_numpy(dtype=float) for what in ("mean", "ci95"))
    for place, colour in enumerate(class_colours(len(table))):
        ax.plot(x[place], mean[place], "o", color=colour, ms=7, mec="white", mew=0.9)
        if np.isfinite(half[place]):
            ax.vlines(x[place], mean[place] - half[place], mean[place] + half[place], color=colour, lw=1.6, alpha=0.7)
    if f"{metric} low" in table:
        low, high = (scale * table[f"{metric} {what}"].to_numpy(dtype=float) for what in ("low", "high"))
        ax.vlines(x, low, high, color=GREY, lw=1.0, ls=":")
    _keep_possible(ax, metric, table[f"{metric} mean"].to_numpy(dtype=float))
    ax.margins(x=0.3)
    ax.set_xlabel("trainable parameters")
    ax.set_title(heading(metric))
    _name_points(ax, x, mean, [shortened(str(name), 40) for name in table["setting"]])
    return figure


def _name_points(ax: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Label each point, and move labels vertically that would overlap."""
    ax.set_xlim(ax.get_xlim())  # fixes the limits, which matplotlib computes lazily
    ax.set_ylim(ax.get_ylim())
    to_axes = ax.transScale + ax.transLimits
    points = to_axes.transform(np.stack([x, y], axis=1))
    on_left = points[:, 0] > 0.6
    widths = np.array([0.0135 * len(name) for name in names])
    centres = points + np.stack([np.where(on_left, -1, 1) * (widths / 2 + 0.02), np.full(len(x), 0.0)], axis=1)
    for name, (_, height), point, left in zip(names, boxes_apart(centres, widths, 0.05), points, on_left, strict=True):
        ax.text(
            point[0] + (-0.02 if left else 0.02), height, name, transform=ax.transAxes, va="center",
            ha="right" if left else "left", fontsize=8.5, color=INK,
        )  # fmt: skip


@matplotlib.rc_context(STYLE)
def settings_intervals(
    summary: "pd.DataFrame", metrics: Sequence[str], seeds: "pd.DataFrame | None" = None, confidence: float = 0.95
) -> Figure:
    """Draw the settings of a sweep, one row each, with mean, confidence interval and single seeds.

    Args:
        summary: one row per setting, with the columns ``setting``, ``n``, ``<metric> mean``, ``<metric> ci95`` and, for
            two seeds, ``<metric> low`` and ``<metric> high`` of :func:`tl_lab.results.tables.summarising.summarise`.
        metrics: names of the metrics to draw, one panel each.
        seeds: one row per run, with the columns ``setting`` and the metrics, drawn as small light dots; None to draw no
            single seeds.
        confidence: level of the intervals, for the label.

    Returns:
        The figure, with settings from top to bottom in the order of ``summary``.
    """
    settings = [shortened(str(name), 60) for name in summary["setting"]]
    rows = np.arange(len(settings))
    width = 2.6 + 0.055 * max(map(len, settings), default=0)
    figure = Figure(figsize=(width + 3.0 * len(metrics), 1.3 + 0.34 * max(len(settings), 2)), layout="constrained")
    axes = figure.subplots(1, max(len(metrics), 1), sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, metrics, strict=True):
        split, part, metric = split_name(name)
        scale = _scale(name)
        if seeds is not None:
            position = {setting: row for row, setting in enumerate(summary["setting"])}
            known = seeds[seeds["setting"].isin(position)]
            ax.plot(
                scale * known[name], known["setting"].map(position) + 0.24, "o", color=SOURCE, ms=4, alpha=0.4, mew=0,
                label="one seed",
            )  # fmt: skip
        mean, half = scale * summary[f"{name} mean"], scale * summary[f"{name} ci95"]
        if half.notna().any():
            ax.hlines(rows, mean - half, mean + half, color=SOURCE, lw=2.2, label=f"{confidence:.0%} interval")
        if f"{name} low" in summary and summary[f"{name} low"].notna().any():
            low, high = scale * summary[f"{name} low"], scale * summary[f"{name} high"]
            ax.hlines(rows, low, high, color=SOURCE, lw=1.0, ls=":", label="both of two seeds")
        ax.plot(mean, rows, "o", color=SOURCE, ms=6.5, mec="white", mew=1.0, label="mean")
        ax.set_title(" ".join(filter(None, (part, readable(metric)))))
        ax.set_xlabel(split + (" set, %" if is_share(metric) else " set"))
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.margins(x=0.08)
        _keep_possible(ax, name, summary[f"{name} mean"].to_numpy(dtype=float), "x")
        ax.xaxis.set_major_locator(MaxNLocator(5))
    axes[0].set_yticks(rows, settings)
    axes[0].set_ylim(len(settings) - 0.4, -0.6)
    handles = dict(zip(*axes[0].get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower right",
        ncols=len(handles),
        labelcolor=GREY,
        fontsize=8,
    )
    return figure


def _scale(name: str) -> float:
    return 100.0 if is_share(split_name(name).metric) else 1.0


def _keep_possible(ax: Axes, name: str, means: np.ndarray, axis: str = "y") -> None:
    """Limit the axis of a bounded metric to its bounds, if all means are within them."""
    low, high = kind_of(name).bounds
    means = means[np.isfinite(means)]
    if ((low <= means) & (means <= high)).all():
        keep_within(ax, (_scale(name) * low, _scale(name) * high), axis)
