"""The figures of task streams."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from tl_lab.results.figures.drawing import (
    GREY,
    INK,
    PALETTE,
    STYLE,
    boxes_apart,
    class_colours,
    darker,
    keep_within,
    name_lines,
    numpy_of,
    percent_ticks,
    shortened,
)
from tl_lab.results.folder.accuracy_matrix_csv import BEFORE
from tl_lab.results.names import ASSUMED, is_share, kind_of, less_is_better, readable

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["accuracy_matrix_figure", "mean_so_far", "task_accuracy_curves", "trade_off_figure"]

_GAP = 0.25  # gap between the row before training and the other rows, in cells
_ENDS = ("last low", "last high", "earlier low", "earlier high")
_MANY_TASKS = 10  # cells have no decimals if there are more tasks


def mean_so_far(matrix: Any) -> np.ndarray:
    """Average each row over the tasks trained so far.

    Args:
        matrix: accuracies, (T+1, T), row 0 before training; NaN where undefined.

    Returns:
        The means, (T+1,); NaN if no task was trained yet, or one of these tasks was not measured.
    """
    accuracies = numpy_of(matrix).astype(float)
    return np.array([np.nan, *(accuracies[learned, :learned].mean() for learned in range(1, len(accuracies)))])


@matplotlib.rc_context(STYLE)
def accuracy_matrix_figure(matrix: Any, task_names: Sequence[str], title: str = "", metric: str = ASSUMED) -> Figure:
    """Draw the main metric of each task before training and after each task; shares are in per cent.

    The colour scale of shares is from 0 to 1, that of errors from 0 to the largest error. Other metrics are blue above
    0 and red below 0, with the darkest colour from 1 and -1 on (an R² of 0 is a constant prediction of the mean).

    The value of the task just trained is bold, undefined cells are blank, and rows without values are omitted. If only
    the last row is defined, all tasks were trained together. The mean over the tasks trained so far is to the right of
    each row.

    Args:
        matrix: values, (T+1, T): row 0 before training, row i after task i; NaN where undefined.
        task_names: names of the T tasks.
        title: the measured quantity; empty for the metric's name.
        metric: name of the metric.

    Returns:
        The figure.

    Raises:
        ValueError: the matrix has another shape.
    """
    accuracies, count = _checked(matrix, task_names), len(task_names)
    rows = [row for row in range(count + 1) if np.isfinite(accuracies[row]).any()]
    at_once = rows[-1:] == [count] and rows[-2:-1] in ([], [0])
    tops = np.arange(len(rows), dtype=float)
    tops[1:] += _GAP if rows[:1] == [0] else 0.0
    font, width, height = (8.5, 0.52, 0.36) if count <= _MANY_TASKS else (7.5, 0.36, 0.28)  # inches of a cell
    figure = Figure(figsize=(2.3 + width * max(count, 4), 1.1 + height * (len(rows) + 1)), layout="constrained")
    ax = figure.subplots()
    tints = _tints(accuracies, metric)
    means = mean_so_far(accuracies)
    for top, row in zip(tops, rows, strict=True):
        edges = np.arange(count + 1), [top, top + 1]
        ax.pcolormesh(*edges, accuracies[[row]], **tints, edgecolors="white", linewidth=1.0)
        for task in range(count):
            just_learned = task == row - 1 and not at_once
            if np.isfinite(value := accuracies[row, task]):
                ax.text(
                    task + 0.5, top + 0.5, _cell(value, metric, count), ha="center", va="center", fontsize=font,
                    color="white" if _is_dark(value, tints) else INK, fontweight="bold" if just_learned else "normal",
                )  # fmt: skip
        if np.isfinite(means[row]):
            _beside(ax, top + 0.5, _cell(means[row], metric, count), font)
    _beside(ax, -0.1, "mean\nso far", font, va="bottom")
    names = [BEFORE, *(f"after {shortened(name, 14)}" for name in task_names)]
    names[-1] = "after all tasks" if at_once else names[-1]
    ax.set_yticks(tops + 0.5, [names[row] for row in rows], fontsize=font)
    upright = max(map(len, task_names)) * font * 0.62 > 72 * width
    on = "on " if upright else "on\n"
    on_tasks = [on + shortened(name, 18) for name in task_names]
    ax.set_xticks(np.arange(count) + 0.5, on_tasks, fontsize=font, rotation=90 if upright else 0)
    ax.set_xlabel(_with_unit(f"{readable(metric)} on test sets", metric))
    ax.set_ylim((tops[-1] if rows else 0.0) + 1, 0.0)
    ax.set_xlim(0, count)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title(title or _capital(metric))
    return figure


@matplotlib.rc_context(STYLE)
def task_accuracy_curves(matrix: Any, task_names: Sequence[str], title: str = "", metric: str = ASSUMED) -> Figure:
    """Draw the main metric of each task over the stream, and its mean over the tasks trained so far.

    The line of a task is light until the task is trained, which a dot marks. Lines are labelled at their ends.

    Args:
        matrix: values, (T+1, T): row 0 before training, row i after task i; NaN where undefined.
        task_names: names of the T tasks.
        title: the measured quantity; empty for the metric's name.
        metric: name of the metric.

    Returns:
        The figure.

    Raises:
        ValueError: the matrix has another shape.
    """
    accuracies, count = _checked(matrix, task_names), len(task_names)
    height = max(3.0, 0.21 * (count + 1))
    figure = Figure(figsize=(8.0, height + 0.8), layout="constrained")
    ax = figure.subplots()
    learned = np.arange(count + 1)
    lines, names = [], []
    for task, colour in enumerate(_task_colours(count)):
        of_task = accuracies[:, task]
        ax.plot(learned[: task + 2], of_task[: task + 2], color=colour, alpha=0.3, lw=1.0)
        (line,) = ax.plot(learned[task + 1 :], of_task[task + 1 :], color=colour)
        ax.plot(task + 1, of_task[task + 1], "o", color=colour, ms=4.5, mec="white", mew=0.8, zorder=3)
        if np.isfinite(of_task[-1]):
            lines.append(line)
            names.append(shortened(task_names[task], 24))
    means = mean_so_far(accuracies)
    (mean,) = ax.plot(learned[1:], means[1:], color=INK, lw=3.0, zorder=4)
    if np.isfinite(means[-1]):
        lines.append(mean)
        names.append("mean so far")
    ax.set_title(title or f"{_capital(metric)} over the stream")
    ax.set_xlabel("tasks learned")
    ax.margins(x=0.012)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    if is_share(metric):
        ax.yaxis.set_major_formatter(percent_ticks())
    else:
        ax.set_ylabel(readable(metric))
    if lines:
        name_lines(ax, lines, names, height)
    return figure


@matplotlib.rc_context(STYLE)
def trade_off_figure(points: "pd.DataFrame", confidence: float = 0.95) -> Figure:
    """Draw the score of settings on the last task of a stream against the mean over the earlier tasks.

    Each setting is a point with intervals in both directions. Settings that differ in one number are joined by a line,
    sorted by the number; their points are labelled with the number, and the legend names the line.

    Args:
        points: table as returned by :func:`tl_lab.results.tables.trade_off.trade_off`.
        confidence: level of the intervals, for the label.

    Returns:
        The figure; shares in per cent.
    """
    metric = points.attrs.get("metric") or ASSUMED
    scale, words = (100.0 if is_share(metric) else 1.0), readable(metric)
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    ax = figure.subplots()
    groups: dict[str, list[int]] = {}
    for row, (line, setting) in enumerate(zip(points["line"], points["setting"], strict=True)):
        groups.setdefault(line or setting, []).append(row)
    joined, labels = [], []
    for colour, (name, rows) in zip(class_colours(len(groups)), groups.items(), strict=True):
        rows.sort(key=lambda row: float(points["value"].iloc[row] or 0))
        x, half_x, y, half_y = (
            scale * points[column].to_numpy(dtype=float)[rows]
            for column in ("last mean", "last ci95", "earlier mean", "earlier ci95")
        )
        ax.hlines(y, x - half_x, x + half_x, color=colour, lw=1.0, alpha=0.45)
        ax.vlines(x, y - half_y, y + half_y, color=colour, lw=1.0, alpha=0.45)
        if "last low" in points:  # both values of two runs, which have no interval
            ends = {name: scale * points[name].to_numpy(dtype=float)[rows] for name in _ENDS}
            ax.hlines(y, ends["last low"], ends["last high"], color=colour, lw=1.0, ls=":")
            ax.vlines(x, ends["earlier low"], ends["earlier high"], color=colour, lw=1.0, ls=":")
        drawn = ax.plot(x, y, "-o", color=colour, ms=6.5, mec="white", mew=1.0, label=shortened(name, 90))
        joined += drawn if len(rows) > 1 else []
        texts = [points["value"].iloc[row] or shortened(points["setting"].iloc[row], 40) for row in rows]
        labels += [(*place, text, colour) for *place, text in zip(x, y, texts, strict=True)]
    ax.margins(0.08)
    lowest, highest = kind_of(metric).bounds
    for axis in ("x", "y"):
        keep_within(ax, (scale * lowest, scale * highest), axis)
    _label_points(ax, labels)
    ax.set_title("Last task against earlier tasks")
    ax.set_xlabel(_with_unit(f"{words} on the last task", metric))
    ax.set_ylabel(_with_unit(f"mean {words} on the earlier tasks", metric))
    bars = Line2D([], [], color=GREY, lw=1.0, label=f"{confidence:.0%} interval over seeds")
    figure.legend(handles=[*joined, bars], loc="outside lower left", fontsize=8, labelcolor=GREY)
    return figure


def _label_points(ax: Axes, labels: Sequence[tuple[float, float, str, Any]]) -> None:
    """Label points on the side with the fewest points and other labels."""
    if not labels:
        return
    points = ax.transLimits.transform([label[:2] for label in labels])
    widths, height = np.array([0.0115 * len(label[2]) + 0.01 for label in labels]), 0.036
    centres = np.zeros_like(points)
    for i, width in enumerate(widths):
        crowds = {}
        for right, up in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
            x, y = points[i] + [right * (0.012 + width / 2), up * 0.026]
            hidden = (np.abs(points - [x, y]) < [width / 2 + 0.008, height / 2 + 0.01]).all(1).sum()
            beside = np.abs(centres[:i] - [x, y]) < np.stack([(widths[:i] + width) / 2, np.full(i, height)], 1)
            outside = max(0.0, width / 2 - x, x + width / 2 - 1) > 0 or not height < y < 1 - height
            crowds[right, up] = (10 * outside + hidden + beside.all(1).sum(), x, y)
        centres[i] = min(crowds.values(), key=lambda crowd: crowd[0])[1:]
    for (x, y), width, point, label in zip(boxes_apart(centres, widths, height), widths, points, labels, strict=True):
        right = x > point[0]
        ax.text(
            x - width / 2 if right else x + width / 2, y, label[2], transform=ax.transAxes,
            ha="left" if right else "right", va="center", fontsize=8.5, color=darker(label[3], 0.35),
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _checked(matrix: Any, task_names: Sequence[str]) -> np.ndarray:
    accuracies, count = numpy_of(matrix).astype(float), len(task_names)
    if accuracies.shape != (count + 1, count):
        raise ValueError(f"{count} tasks require a matrix ({count + 1}, {count}), not {accuracies.shape}")
    return accuracies


def _task_colours(count: int) -> list[Any]:
    """Return the palette without black, which is the colour of the mean; for more tasks, colours of a rainbow."""
    few = PALETTE[:-1]
    return list(few[:count] if count <= len(few) else matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def _tints(values: np.ndarray, metric: str) -> dict[str, Any]:
    """Choose the colour map of a metric's values, and the limits of its scale."""
    finite = values[np.isfinite(values)]
    if is_share(metric) or less_is_better(metric):
        top = 1.0 if is_share(metric) else max(finite.max(initial=0.0), np.finfo(float).tiny)
        return {"cmap": matplotlib.colormaps["Blues"].with_extremes(bad="white"), "vmin": 0.0, "vmax": top}
    return {"cmap": matplotlib.colormaps["RdBu"].with_extremes(bad="white"), "vmin": -1.0, "vmax": 1.0}


def _is_dark(value: float, tints: Mapping[str, Any]) -> bool:
    return abs(value) > 0.6 * tints["vmax"]


def _cell(value: float, metric: str, count: int) -> str:
    if is_share(metric):
        return f"{100 * value:.0f}" if count > _MANY_TASKS else f"{100 * value:.1f}"
    if kind_of(metric).digits == "z.3f":
        return f"{value:.1f}" if count > _MANY_TASKS or abs(value) >= 10 else f"{value:.2f}"
    return f"{value:.3g}"


def _with_unit(words: str, metric: str) -> str:
    return words + (", %" if is_share(metric) else "")


def _capital(metric: str) -> str:
    words = readable(metric)
    return words[:1].upper() + words[1:]


def _beside(ax: Axes, y: float, text: str, font: float, va: str = "center") -> None:
    """Write to the right of the cells."""
    ax.annotate(
        text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(34, 0), textcoords="offset points",
        ha="right", va=va, color=GREY, fontsize=font, annotation_clip=False,
    )  # fmt: skip
