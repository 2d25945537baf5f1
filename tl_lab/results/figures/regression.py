"""The figures of a regression: predictions against true values, and residuals."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tl_lab.results.figures.drawing import GREY, INK, SOURCE, STYLE, TARGET, above, numpy_of, shortened
from tl_lab.results.names import format_metric, readable

__all__ = ["prediction_scatter"]

_MANY = 2000  # number of points above which their density is drawn
_MOST_OUTPUTS = 4
_CELLS = 45  # hexagons across a panel


@matplotlib.rc_context(STYLE)
def prediction_scatter(
    true: Any, predicted: Any, names: Sequence[str], *, units: Sequence[str] = (), title: str = ""
) -> Figure:
    """Draw predictions against true values with the line of equality, and residuals against predictions.

    Up to 2,000 samples are drawn as points, more samples as a density. With 100 samples or more, the panel of residuals
    (predicted minus true) has their median and the middle 80 %, by deciles of the predictions.

    Args:
        true: true values in their own units, ``(N,)`` or ``(N, D)``.
        predicted: predicted values, of the same shape; samples with a value that is not finite are omitted.
        names: names of the D outputs.
        units: units of the D outputs for the axes; empty for no units.
        title: the tested set.

    Returns:
        The figure, with one row for each of the first four outputs.

    Raises:
        ValueError: the shapes differ, the number of names differs from that of the outputs, or no value is finite.
    """
    y, p = (_columns(values) for values in (true, predicted))
    if y.shape != p.shape or y.shape[1] != len(names) or len(units) not in (0, len(names)):
        raise ValueError(f"{len(names)} outputs require as many columns of values, not {y.shape} and {p.shape}")
    kept = np.isfinite(y).all(axis=1) & np.isfinite(p).all(axis=1)
    if not kept.any():
        raise ValueError("no sample has a finite true value and a finite prediction")
    rows = min(len(names), _MOST_OUTPUTS)
    figure = Figure(figsize=(8.8, 0.4 + 3.9 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    for row in range(rows):
        unit = f" ({units[row]})" if units and units[row] else ""
        name = shortened(names[row], 30)
        of_true, of_predicted = y[kept, row], p[kept, row]
        _against_true(axes[row, 0], of_true, of_predicted)
        axes[row, 0].set_xlabel(f"true {name}{unit}")
        axes[row, 0].set_ylabel(f"predicted {name}{unit}")
        _under_title(axes[row, 0], name, _scores(of_true, of_predicted, units[row] if units else ""))
        _residuals(axes[row, 1], of_true, of_predicted)
        axes[row, 1].set_xlabel(f"predicted {name}{unit}")
        axes[row, 1].set_ylabel(f"predicted - true{unit}")
        _under_title(axes[row, 1], "Residuals", f"mean {_signed(of_predicted - of_true)}, n = {kept.sum():,}")
    left_out = f", the first {rows} of {len(names)} outputs" if rows < len(names) else ""
    if title or left_out:
        figure.suptitle(f"{title}{left_out}".removeprefix(", "), x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def _columns(values: Any) -> np.ndarray:
    array = numpy_of(values).astype(float)
    return array[:, None] if array.ndim == 1 else array


def _against_true(ax: Axes, true: np.ndarray, predicted: np.ndarray) -> None:
    low, high = (float(end(np.concatenate([true, predicted]))) for end in (np.min, np.max))
    margin = 0.04 * (high - low) or 1.0
    ends = low - margin, high + margin
    _draw(ax, true, predicted, (*ends, *ends))
    ax.plot(ends, ends, color=INK, lw=1.0, ls="--", zorder=3)
    ax.set_xlim(ends)
    ax.set_ylim(ends)
    ax.set_aspect("equal")


def _residuals(ax: Axes, true: np.ndarray, predicted: np.ndarray) -> None:
    residual = predicted - true
    reach = 1.08 * float(np.abs(residual).max()) or 1.0
    low, high = float(predicted.min()), float(predicted.max())
    margin = 0.04 * (high - low) or 1.0
    _draw(ax, predicted, residual, (low - margin, high + margin, -reach, reach))
    ax.axhline(0.0, color=INK, lw=1.0, ls="--", zorder=3)
    groups = np.array_split(np.argsort(predicted, kind="stable"), 10)
    if len(predicted) >= 100:
        centres = [predicted[group].mean() for group in groups]
        lower, middle, upper = np.array([np.quantile(residual[group], [0.1, 0.5, 0.9]) for group in groups]).T
        ax.plot(centres, middle, color=TARGET, zorder=4, label="median")
        for end in (lower, upper):
            ax.plot(centres, end, color=TARGET, lw=0.9, zorder=4, label="middle 80 %" if end is lower else None)
        ax.legend(loc="best", fontsize=8, labelcolor=GREY)
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(-reach, reach)


def _draw(ax: Axes, x: np.ndarray, y: np.ndarray, extent: tuple[float, float, float, float]) -> None:
    if len(x) > _MANY:
        ax.hexbin(x, y, gridsize=_CELLS, extent=extent, mincnt=1, bins="log", cmap="Blues", linewidths=0)
    else:
        opacity = float(np.clip(60 / np.sqrt(len(x)) / 5, 0.25, 0.8))
        ax.scatter(x, y, s=14, color=SOURCE, alpha=opacity, linewidths=0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6))


def _scores(true: np.ndarray, predicted: np.ndarray, unit: str) -> str:
    error = predicted - true
    around = float(np.square(true - true.mean()).sum())
    found = {"r2": 1 - float(np.square(error).sum()) / around if around else float("nan")}
    found["mae"] = float(np.abs(error).mean())
    words = [f"{readable(metric)} {format_metric(metric, value)}" for metric, value in found.items()]
    return ", ".join(words) + (f" {unit}" if unit else "")


def _signed(values: np.ndarray) -> str:
    mean = float(values.mean())
    return f"{'+' if mean > 0 else ''}{mean:z.3g}"


def _under_title(ax: Axes, title: str, text: str) -> None:
    ax.set_title(f"{title}\n", loc="left")
    ax.text(0.0, 1.0, text, transform=above(ax, 5), color=GREY, va="bottom")
