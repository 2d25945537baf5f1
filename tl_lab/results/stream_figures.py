"""The figures of streams of tasks: pure functions from accuracies to matplotlib Figures."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tl_lab.results.drawing import GREY, INK, PALETTE, STYLE, name_lines, numpy_of, shortened
from tl_lab.results.stream import BEFORE

__all__ = ["accuracy_matrix_figure", "mean_so_far", "task_accuracy_curves"]

_GAP = 0.25  # between the row before training and the others, in cells
_MANY_TASKS = 10  # above it cells leave the decimal out


def mean_so_far(matrix: Any) -> np.ndarray:
    """Average each row over the tasks learned by then.

    Args:
        matrix: accuracies, (T+1, T), row 0 before training; NaN where undefined.

    Returns:
        (T+1,); NaN where no task was learned, or one of them was not measured.
    """
    accuracies = numpy_of(matrix).astype(float)
    return np.array([np.nan, *(accuracies[learned, :learned].mean() for learned in range(1, len(accuracies)))])


@matplotlib.rc_context(STYLE)
def accuracy_matrix_figure(matrix: Any, task_names: Sequence[str], title: str = "Accuracy") -> Figure:
    """Draw the accuracy on each task before training and after each task, in per cent.

    A task that has just been learned is bold, what is not defined is blank, rows without any number are left out:
    where the last row alone is defined, all tasks were learned at once. Right of a row stands its mean over the tasks
    learned by then.

    Args:
        matrix: accuracies in [0, 1], (T+1, T): row 0 before training, row i after task i; NaN where undefined.
        task_names: T names.
        title: what was measured.

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
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="white")
    means = mean_so_far(accuracies)
    for top, row in zip(tops, rows, strict=True):
        edges = np.arange(count + 1), [top, top + 1]
        ax.pcolormesh(*edges, accuracies[[row]], cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=1.0)
        for task in range(count):
            just_learned = task == row - 1 and not at_once
            if np.isfinite(value := accuracies[row, task]):
                ax.text(
                    task + 0.5, top + 0.5, _per_cent(value, count), ha="center", va="center", fontsize=font,
                    color="white" if value > 0.6 else INK, fontweight="bold" if just_learned else "normal",
                )  # fmt: skip
        if np.isfinite(means[row]):
            _beside(ax, top + 0.5, _per_cent(means[row], count), font)
    _beside(ax, -0.1, "mean\nso far", font, va="bottom")
    names = [BEFORE, *(f"after {shortened(name, 14)}" for name in task_names)]
    names[-1] = "after all tasks" if at_once else names[-1]
    ax.set_yticks(tops + 0.5, [names[row] for row in rows], fontsize=font)
    upright = max(map(len, task_names)) * font * 0.62 > 72 * width
    on = "on " if upright else "on\n"
    on_tasks = [on + shortened(name, 18) for name in task_names]
    ax.set_xticks(np.arange(count) + 0.5, on_tasks, fontsize=font, rotation=90 if upright else 0)
    ax.set_xlabel("accuracy on test sets, %")
    ax.set_ylim((tops[-1] if rows else 0.0) + 1, 0.0)
    ax.set_xlim(0, count)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_title(title)
    return figure


@matplotlib.rc_context(STYLE)
def task_accuracy_curves(matrix: Any, task_names: Sequence[str], title: str = "Accuracy over the stream") -> Figure:
    """Draw the accuracy on each task, and the mean over the tasks learned so far, over the number of tasks learned.

    A task's line is light until the task is learned, where a dot stands; it is named at its end.

    Args:
        matrix: accuracies in [0, 1], (T+1, T): row 0 before training, row i after task i; NaN where undefined.
        task_names: T names.
        title: what was measured.

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
    ax.set_title(title)
    ax.set_xlabel("tasks learned")
    ax.margins(x=0.012)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if lines:
        name_lines(ax, lines, names, height)
    return figure


def _checked(matrix: Any, task_names: Sequence[str]) -> np.ndarray:
    accuracies, count = numpy_of(matrix).astype(float), len(task_names)
    if accuracies.shape != (count + 1, count):
        raise ValueError(f"{count} tasks need a matrix ({count + 1}, {count}), not {accuracies.shape}")
    return accuracies


def _task_colours(count: int) -> list[Any]:
    """The palette without its black, which is the mean's; for more tasks a rainbow in their order."""
    few = PALETTE[:-1]
    return list(few[:count] if count <= len(few) else matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def _per_cent(share: float, count: int) -> str:
    return f"{100 * share:.0f}" if count > _MANY_TASKS else f"{100 * share:.1f}"


def _beside(ax: Axes, y: float, text: str, font: float, va: str = "center") -> None:
    """Write right of the cells."""
    ax.annotate(
        text, (1.0, y), xycoords=("axes fraction", "data"), xytext=(34, 0), textcoords="offset points",
        ha="right", va=va, color=GREY, fontsize=font, annotation_clip=False,
    )  # fmt: skip
