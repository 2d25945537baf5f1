"""The figure of a confusion matrix."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tl_lab.results.figures.drawing import GREY, GRID, INK, STYLE, above, numpy_of, shortened

__all__ = ["confusion_matrix"]

_NAME = 18  # largest number of characters of a class name


@matplotlib.rc_context(STYLE)
def confusion_matrix(matrix: Any, class_names: Sequence[str], title: str = "Confusion matrix") -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class.

    The colour scale is the square root of the share, so that rare confusions are visible next to a strong
    diagonal. Cells show counts for up to 15 classes; the recall of each class is on the right for up to 40.

    Args:
        matrix: counts, (C, C), with true classes as rows and predicted classes as columns.
        class_names: names of the C classes.
        title: the tested set, for example ``target, test part``.

    Returns:
        The figure.

    Raises:
        ValueError: the matrix is not square, or the number of names differs from that of its rows.
    """
    counts = numpy_of(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] != len(class_names):
        raise ValueError(f"{len(class_names)} class names require a square matrix of that size, not {counts.shape}")
    size, totals = len(class_names), counts.sum(axis=1)
    share = np.divide(counts, totals[:, None], out=np.full(counts.shape, np.nan), where=totals[:, None] > 0)
    side = float(np.clip(2.4 + 0.34 * size, 3.2, 10.5))
    longest = min(max(map(len, map(str, class_names)), default=0), _NAME)
    figure = Figure(figsize=(side + 2.1 + 0.07 * longest, side + 0.7), layout="compressed")
    ax = figure.subplots()
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#f0f0f0")
    image = ax.imshow(share, cmap=colours, norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    ax.grid(True, which="minor", color="white" if size <= 40 else GRID, linewidth=1.0 if size <= 40 else 0.3)
    ax.tick_params(which="both", length=0)
    _class_ticks(ax, class_names, side)
    if size <= 15:
        _write_counts(ax, counts, share)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    correct, total = np.trace(counts), counts.sum()
    ax.set_title(f"{title}\n", loc="left")
    summary = f"accuracy {correct / total:.1%}, {total:,.0f} samples" if total else "no samples"
    ax.text(0.0, 1.0, summary, transform=above(ax, 5), color=GREY, va="bottom")
    if size <= 40:
        _write_recall(ax, share)
    bar = figure.colorbar(
        image, ax=ax, shrink=0.55 if size > 4 else 0.85, aspect=22, pad=0.03, format=PercentFormatter(1.0, decimals=0)
    )
    bar.set_ticks([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0])
    bar.set_label("share of the true class\n(square-root scale)")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


def _class_ticks(ax: Axes, class_names: Sequence[str], side: float) -> None:
    size = len(class_names)
    every = -(-size // 100)
    ticks = np.arange(0, size, every)
    names = [shortened(str(class_names[tick]), _NAME) for tick in range(0, size, every)]
    font = float(np.clip(58.0 * side * 0.8 / len(ticks), 4.5, 9.0))
    longest = max(map(len, names))
    upright = 0.62 * font * longest > 72 * side * 0.75 / len(ticks)
    ax.set_xticks(ticks, names, fontsize=font, rotation=90 if upright else 0)
    ax.set_yticks(ticks, names, fontsize=font)


def _write_counts(ax: Axes, counts: np.ndarray, share: np.ndarray) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            dark = share[row, column] > 0.35
            ax.text(
                column, row, f"{count:,.0f}" if float(count).is_integer() else f"{count:.2g}",
                ha="center", va="center", fontsize=8.5 if count < 1000 else 7,
                color="white" if dark else INK, fontweight="bold" if row == column else "normal",
            )  # fmt: skip


def _write_recall(ax: Axes, share: np.ndarray) -> None:
    size = len(share)
    font, offset = (8.5, 42) if size <= 25 else (6.5, 34)
    for row in range(size):
        text = f"{share[row, row]:.1%}" if np.isfinite(share[row, row]) else "-"
        ax.annotate(
            text, (1.0, row), xycoords=("axes fraction", "data"), xytext=(offset, 0),
            textcoords="offset points", ha="right", va="center", color=GREY, fontsize=font,
        )  # fmt: skip
    ax.annotate(
        "recall", (1.0, 1.0), xycoords="axes fraction", xytext=(offset, 5),
        textcoords="offset points", ha="right", va="bottom", color=GREY, fontsize=font,
    )  # fmt: skip
