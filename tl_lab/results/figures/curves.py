"""The figures of one run over time: its metrics, and the epochs that validators would have chosen."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from tl_lab.results.figures.drawing import GREY, MARKED, PALETTE, STYLE, TARGET, name_lines, percent_ticks
from tl_lab.results.folder.selection import reached
from tl_lab.results.names import (
    ASSUMED,
    companion,
    is_score,
    is_share,
    leading_metric,
    leads,
    less_is_better,
    readable,
    split_name,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["learning_curves", "selection_curve"]

_PANELS = {
    "Loss": 2.7,
    "Accuracy": 2.7,
    "Scores": 1.9,
    "Label-free scores": 1.9,
    "MAE": 1.9,
    "MSE": 1.9,
    "Errors": 1.9,
    "Gradient at the features": 1.9,
    "Cosines between the tasks' gradients": 1.9,
    "Loss weights": 1.6,
    "Schedules": 1.6,
    "Other training values": 1.6,
    "Learning rate": 1.6,
}  # heights in inches
_LABEL = 0.2  # height of a line's label in inches
_GRADIENT = "grad_norm_"
_COSINE, _WEIGHT = "cosine_", "_weight"
_INTERVAL = "_ci95"
_TOTAL = "train/loss"
_PENALTIES = {"ewc", "l2_sp", "mas", "si"}  # terms of the loss whose names do not say so
_NAMED_BY_METRIC = ("Accuracy", "Scores", "Errors")
_SCHEDULES = {"lambda", "ramp"}
_MANY_POINTS = 80
_OF_SETS = (PALETTE[3], PALETTE[4], PALETTE[7], PALETTE[8])  # colours of sets that several panels show
_BESIDE_TARGET = (PALETTE[0], PALETTE[2], PALETTE[4], PALETTE[5], PALETTE[9])  # unlike the curve of the target


@matplotlib.rc_context(STYLE)
def learning_curves(metrics: "pd.DataFrame") -> Figure:
    """Draw the metrics of a run over its updates.

    There are panels for losses, shares (accuracy, AUROC), other scores, scores that need no labels, regression errors,
    the gradient of each loss term at the features, cosines between the tasks' gradients, weights of the losses,
    schedules, other values and learning rates. Only panels with data are drawn, one below the other. Lines are
    labelled at their ends. Balanced accuracy and F1 are drawn only if they differ from the accuracy, a term of the loss
    only if it differs from the total loss, weights only if one changes.
    The interval of a mean over episodes is a band. Long noisy lines
    are drawn in a light colour, with their centred running mean (over a fortieth of the points) on top.

    Args:
        metrics: table of ``metrics.csv``, with the column ``step`` (or ``epoch``) and one column per metric; NaN where
            nothing was logged. Test metrics are omitted.

    Returns:
        The figure; a single panel with a message if there is nothing to draw.
    """
    horizontal = "step" if "step" in metrics else "epoch"
    panels = _panels(metrics)
    heights = [max(_PANELS[title], _LABEL * len(names)) for title, names in panels.items()] or [2.0]
    figure = Figure(figsize=(8.0, 0.5 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if not panels:
        axes[0].text(0.5, 0.5, "no training metrics were logged", ha="center", color=GREY)
        axes[0].set_axis_off()
        return figure
    of_sets = _colours_of_sets(panels)
    for ax, (title, names), height in zip(axes, panels.items(), heights, strict=True):
        ax.set_title(_title(title, names))
        ax.margins(x=0.012)
        colours = _colours(names, of_sets)
        lines = [_line(ax, metrics, horizontal, name, colour) for name, colour in zip(names, colours, strict=True)]
        if title in ("Loss", "Errors", "Gradient at the features", "Learning rate"):
            _log_if_wide(ax, metrics[names].to_numpy(dtype=float))
        elif title == "Accuracy":
            ax.yaxis.set_major_formatter(percent_ticks())
        elif title in ("Loss weights", "Schedules"):
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        labels = [_curve_label(name, names) + " ± 95 %" * (name + _INTERVAL in metrics) for name in names]
        if any(labels):  # not if the title says it all
            name_lines(ax, lines, labels, height)
    axes[-1].set_xlabel("update" if horizontal == "step" else "epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@matplotlib.rc_context(STYLE)
def selection_curve(epochs: Sequence[int], scores: Sequence[float], chosen: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the target's main metric over epochs, with the epochs that validators would have chosen.

    Args:
        epochs: numbers of the E epochs, from 1.
        scores: stored scores on the target's test part after each epoch, (E,).
        chosen: rows of :func:`tl_lab.results.folder.selection.selection`; rows with the same epoch share a line.

    Returns:
        The figure; the line of the oracle's epoch is dashed.
    """
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.plot(epochs, scores, color=TARGET, marker="o" if len(epochs) <= MARKED else "", ms=3.5)
    ax.margins(x=0.03)
    found = [score for score in map(reached, chosen) if score is not None]
    metric = found[0][0] if found else ASSUMED
    if is_share(metric):
        ax.yaxis.set_major_formatter(percent_ticks())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel(f"target {readable(metric)}, test part")
    by_epoch: dict[int, list[Mapping[str, Any]]] = {}
    for row in chosen:
        by_epoch.setdefault(row["epoch"], []).append(row)
    handles: list[Line2D] = []
    labels: list[str] = []
    for epoch, rows in sorted(by_epoch.items()):
        dashes = "--" if all(row["oracle"] for row in rows) else "-"
        colour = _BESIDE_TARGET[len(handles) % len(_BESIDE_TARGET)]
        handles.append(ax.axvline(epoch, color=colour, lw=1.2, ls=dashes, zorder=1.8))  # above the grid
        names = [str(row["chooser"]).split(" (")[0].replace("_", " ") for row in rows]
        labels.append("\n".join([f"epoch {epoch}, chosen by", *names]))
        ax.plot([epoch], [rows[0][f"target_{metric}"]], "o", color=TARGET, ms=6.5, mec="white", mew=1.0)
    if handles:
        figure.legend(handles, labels, loc="outside right upper", fontsize=8.5, labelspacing=0.9)
    return figure


def _panels(metrics: "pd.DataFrame") -> dict[str, list[str]]:
    """Assign the columns that have data to panels, in drawing order."""
    panels: dict[str, list[str]] = {title: [] for title in _PANELS}
    for name in metrics.columns:
        split, _, metric = split_name(name)
        if (
            name in ("epoch", "step")
            or split == "test"
            or name.endswith(_INTERVAL)
            or not np.isfinite(_column(metrics, name)).any()
        ):
            continue
        if not _says_the_same(metrics, name):
            panels[_panel(split, metric)].append(name)
    weights = panels["Loss weights"]
    if all(np.nanmax(column) == np.nanmin(column) for column in (_column(metrics, name) for name in weights)):
        weights.clear()
    return {title: names for title, names in panels.items() if names}


def _panel(split: str, metric: str) -> str:
    if metric.startswith(_GRADIENT):
        return "Gradient at the features"
    if is_share(metric):
        return "Accuracy"
    if is_score(metric):
        if not less_is_better(metric):
            return "Scores"
        return readable(metric) if readable(metric) in _PANELS else "Errors"  # each in its own unit
    if metric == "lr" or metric.startswith(("lr-", "lr_")) or metric.endswith("_lr"):
        return "Learning rate"
    if split != "train":
        return "Loss" if "loss" in metric else "Label-free scores"
    if "loss" in metric or "penalty" in metric or metric in _PENALTIES:
        return "Loss"
    if metric.startswith(_COSINE):
        return "Cosines between the tasks' gradients"
    if metric.endswith(_WEIGHT):
        return "Loss weights"
    if error := next((one for one in ("MAE", "MSE") if metric.endswith(f"_{one.lower()}")), ""):  # of a task
        return error
    return "Schedules" if metric in _SCHEDULES else "Other training values"


def _title(panel: str, names: Sequence[str]) -> str:
    """Return the title of a panel, which names the metric if the panel has a single one."""
    if panel not in _NAMED_BY_METRIC:
        return panel
    if (metric := _single(names)) is not None:
        words = readable(metric)
        return words[:1].upper() + words[1:]
    main = {split_name(name).metric for name in names if leads(name)} or {leading_metric(names) or ASSUMED}
    return panel if panel != "Accuracy" or main == {ASSUMED} else "Scores, per cent"


def _single(names: Sequence[str]) -> str | None:
    """Return the metric of a panel, if all of its lines show the same one."""
    metrics = {split_name(name).metric for name in names}
    return metrics.pop() if len(metrics) == 1 else None


def _says_the_same(metrics: "pd.DataFrame", name: str) -> bool:
    """Whether a line would hide another: the only term of the loss, or balanced accuracy and F1 near the accuracy."""
    split, _, metric = split_name(name)
    if split == "train" and _panel(split, metric) == "Loss" and name != _TOTAL and _TOTAL in metrics:
        total, term = _column(metrics, _TOTAL), _column(metrics, name)
        return bool(np.allclose(total, term, rtol=1e-6, atol=0.0, equal_nan=True))
    plain = companion(name)
    if plain is None or plain not in metrics:
        return False
    return bool(np.nanmax(np.abs(_column(metrics, name) - _column(metrics, plain)), initial=0.0) <= 0.02)


def _column(metrics: "pd.DataFrame", name: str) -> np.ndarray:
    import pandas as pd

    return pd.to_numeric(metrics[name], errors="coerce").to_numpy(dtype=float)


def _set_of(name: str) -> tuple[str, str] | None:
    """Return the set that a metric was measured on, such as validation on the source; None for training values."""
    split, part, _ = split_name(name)
    return None if split == "train" else (split, part)


def _colours_of_sets(panels: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], str]:
    """Assign a colour to each set that several panels show, from the end of the palette."""
    shown = [key for names in panels.values() for key in dict.fromkeys(map(_set_of, names)) if key is not None]
    several = [key for key in dict.fromkeys(shown) if shown.count(key) > 1]
    return dict(zip(several, _OF_SETS, strict=False))


def _colours(names: Sequence[str], of_sets: Mapping[tuple[str, str], str]) -> list[str]:
    """Choose the colours of a panel's lines; the first line of a set has the same colour in all panels."""
    free = iter([colour for colour in PALETTE if colour not in of_sets.values()] * len(names))
    colours: list[str] = []
    for name in names:
        own = of_sets.get(_set_of(name) or ("", ""))
        colours.append(own if own and own not in colours else next(free))
    return colours


def _line(ax: Axes, metrics: "pd.DataFrame", horizontal: str, name: str, colour: str) -> Line2D:
    """Draw one metric and return the line to be labelled."""
    x, y = _column(metrics, horizontal), _column(metrics, name)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if name + _INTERVAL in metrics:
        half = _column(metrics, name + _INTERVAL)[there]
        ax.fill_between(x, y - half, y + half, color=colour, alpha=0.18, lw=0)
    split = split_name(name).split
    dashes = ":" if split == "oracle" else "-"
    if len(y) > _MANY_POINTS and np.abs(np.diff(y, 2)).mean() > 0.02 * np.ptp(y):
        ax.plot(x, y, color=colour, alpha=0.22, lw=0.8)
        import pandas as pd

        y = pd.Series(y).rolling(max(len(y) // 40, 3), center=True, min_periods=1).mean().to_numpy()
    marker = "o" if len(y) <= MARKED else ""
    return ax.plot(x, y, dashes, color=colour, marker=marker, ms=3.5)[0]


def _curve_label(name: str, panel: Sequence[str]) -> str:
    """Return the label of a line: the part of its name that distinguishes it within its panel."""
    split, part, metric = split_name(name)
    kind = _panel(split, metric)
    if kind == "Gradient at the features":
        return readable(metric.removeprefix(_GRADIENT))
    if kind == "Cosines between the tasks' gradients":
        return readable(metric.removeprefix(_COSINE))
    if kind == "Loss weights":
        return readable(metric.removesuffix(_WEIGHT))
    words = [split, part] if kind not in ("Schedules", "Other training values", "Learning rate") else [part]
    alone = sum(split_name(other)[:2] == (split, part) for other in panel) == 1
    if metric == "loss" and split == "train" and not alone:
        words.append("total loss")
    elif not alone or not _names(_title(kind, panel), metric):
        words.append(readable(metric))
    elif not part and any(split_name(other).split == split and split_name(other).part for other in panel):
        words.append("mean over tasks")
    return " ".join(filter(None, words))


def _names(title: str, metric: str) -> bool:
    """Whether a panel's title is the name of the metric, so that labels need not repeat it."""
    return title.lower() == readable(metric).lower()


def _log_if_wide(ax: Axes, values: np.ndarray) -> None:
    """Use a logarithmic axis if all values are positive and nearly all span more than a factor of 30."""
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.02, 0.98])
    if values.min() > 0 and high / low > 30:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
