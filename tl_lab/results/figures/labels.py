"""The figures of a multi-label problem: scores and errors of each label, and co-occurrence of labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from tl_lab.results.figures.drawing import GREY, INK, PALETTE, STYLE, above, numpy_of, percent_ticks, shortened
from tl_lab.results.names import readable

__all__ = ["label_confusion", "label_scores", "labels_together"]

_NAME = 26  # largest number of characters of a label
_WRITTEN = 12  # largest number of labels for which cells have numbers
_OUTCOMES = {
    "found": "#0072b2",
    "missed": "#9ecae9",
    "false alarm": "#d55e00",
}  # colours


@matplotlib.rc_context(STYLE)
def label_scores(
    scores: Mapping[str, Mapping[str, float]], prevalence: Mapping[str, float] | Any, title: str = "Scores by label"
) -> Figure:
    """Draw the scores of each label as bars next to its prevalence.

    Labels keep the given order. The score of a random prediction is marked: for AUROC by a dashed line at 50 %, for the
    average precision by a mark at the label's prevalence.

    Args:
        scores: for each label, its metrics (``auroc``, ``ap`` ...) by name, in [0, 1]; NaN if all samples have the same
            value of the label.
        prevalence: share of the samples that have each label, by label, or as an array in the order of ``scores``.
        title: the tested set.

    Returns:
        The figure, with one panel for the scores and one for the prevalence.

    Raises:
        ValueError: there is no label, or the prevalence of a label is missing.
    """
    shares = _by_label(list(scores), prevalence)
    metrics = list(dict.fromkeys(metric for of_label in scores.values() for metric in of_label))
    values = np.array([[of_label.get(metric, np.nan) for metric in metrics] for of_label in scores.values()], float)
    names = list(scores)
    count, thick = len(names), 0.8 / len(metrics)
    size = (8.4, 1.4 + max(0.26 * count, 0.13 * count * len(metrics), 0.9))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.12))
    ax, beside = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    places = np.arange(count)
    for k, metric in enumerate(metrics):
        y = places + thick * (k - (len(metrics) - 1) / 2)
        label = f"{readable(metric)} (mean {_mean(values[:, k])})"
        ax.barh(y, values[:, k], 0.9 * thick, color=PALETTE[k], label=label)
        if metric == "ap":
            ax.vlines(
                shares,
                y - 0.45 * thick,
                y + 0.45 * thick,
                color=INK,
                lw=1.2,
                label="average precision of a random prediction",
            )
    if "auroc" in metrics:
        ax.axvline(0.5, color=GREY, lw=0.9, ls="--", label="AUROC of a random prediction")
    beside.barh(places, shares, 0.55, color="#b9b9b9")
    for place, share in enumerate(shares):
        beside.annotate(
            f"{share:.1%}", (share, place), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=7.5, color=GREY,
        )  # fmt: skip
    _label_rows(ax, names)
    ax.set_xlim(0, 1)
    beside.set_xlim(0, 1.25 * max(shares.max(), 0.05))
    ax.set_title(title)
    beside.set_title("Prevalence")
    for panel in (ax, beside):
        panel.xaxis.set_major_formatter(percent_ticks())
    beside.tick_params(axis="y", length=0)
    beside.grid(False)
    figure.legend(loc="outside lower left", ncols=2, fontsize=8, labelcolor=GREY)
    return figure


@matplotlib.rc_context(STYLE)
def label_confusion(true: Any, predicted: Any, names: Sequence[str], title: str = "Errors by label") -> Figure:
    """Draw for each label the number of samples in which it was found, missed, or falsely predicted.

    Args:
        true: whether each sample has each label, ``(N, L)``, with values 0 and 1.
        predicted: whether each label is predicted for each sample, ``(N, L)``, with values 0 and 1.
        names: names of the L labels.
        title: the tested set.

    Returns:
        The figure, with one row per label, in the given order, and its recall and precision.

    Raises:
        ValueError: the shapes do not match.
    """
    y, p = (_indicators(values, names) for values in (true, predicted))
    counts = {"found": (y & p).sum(0), "missed": (y & ~p).sum(0), "false alarm": (~y & p).sum(0)}
    figure = Figure(figsize=(8.4, 1.4 + max(0.26 * len(names), 0.7)), layout="constrained")
    ax = figure.subplots()
    places, start = np.arange(len(names)), np.zeros(len(names))
    for outcome, colour in _OUTCOMES.items():
        width = counts[outcome]
        ax.barh(places, width, 0.7, left=start, color=colour, label=outcome)
        start = start + width
    for place in places:
        found, missed, false = (int(counts[outcome][place]) for outcome in _OUTCOMES)
        for text, shift in ((_share(found, found + missed), 42), (_share(found, found + false), 86)):
            ax.annotate(
                text, (1.0, place), xycoords=("axes fraction", "data"), xytext=(shift, 0), textcoords="offset points",
                ha="right", va="center", fontsize=7.5, color=GREY, annotation_clip=False,
            )  # fmt: skip
    for text, shift in (("recall", 42), ("precision", 86)):
        ax.annotate(
            text, (1.0, 1.0), xycoords="axes fraction", xytext=(shift, 4), textcoords="offset points",
            ha="right", va="bottom", fontsize=7.5, color=GREY,
        )  # fmt: skip
    _label_rows(ax, names)
    ax.set_xlabel("samples")
    exact = (y == p).all(1).mean() if len(y) else float("nan")
    ax.set_title(f"{title}\n", loc="left")
    ax.text(0.0, 1.0, f"{readable('subset_acc')} {exact:.1%}, {len(y):,} samples", transform=above(ax, 5), color=GREY)
    figure.legend(loc="outside lower left", ncols=3, fontsize=8, labelcolor=GREY)
    return figure


@matplotlib.rc_context(STYLE)
def labels_together(true: Any, predicted: Any, names: Sequence[str], title: str = "Co-occurrence of labels") -> Figure:
    """Draw how often labels co-occur, for true and for predicted labels.

    Args:
        true: whether each sample has each label, ``(N, L)``, with values 0 and 1.
        predicted: whether each label is predicted for each sample, ``(N, L)``, with values 0 and 1.
        names: names of the L labels.
        title: the tested set.

    Returns:
        The figure, with two matrices: the share of the samples with the row's label that also have the column's label.

    Raises:
        ValueError: the shapes do not match.
    """
    panels = {"true": _indicators(true, names), "predicted": _indicators(predicted, names)}
    count = len(names)
    side = float(np.clip(1.2 + 0.36 * count, 2.6, 6.4))
    font = float(np.clip(46 * side / count, 4.5, 8.5))
    longest = min(max(len(str(name)) for name in names), _NAME)
    upright = 0.62 * font * longest > 72 * side * 0.9 / count
    reach = 0.62 * font * longest / 72  # of the names in inches
    figure = Figure(figsize=(2 * side + 1.9 + reach, side + (1.0 + reach if upright else 1.1)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="#f0f0f0")
    for ax, (word, labels) in zip(axes, panels.items(), strict=True):
        shares = _conditional(labels)
        image = ax.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
        ticks = np.arange(count), [shortened(str(name), _NAME) for name in names]
        ax.set_xticks(*ticks, fontsize=font, rotation=90 if upright else 0)
        ax.set_yticks(*ticks, fontsize=font)
        ax.set_title(word)
        ax.set_xlabel("also have")
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        for (row, column), share in np.ndenumerate(shares) if count <= _WRITTEN else ():
            if np.isfinite(share):
                ax.text(
                    column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                    color="white" if share > 0.35 else INK,
                )  # fmt: skip
    axes[0].set_ylabel("samples that have")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=24, format=PercentFormatter(1.0, decimals=0))
    bar.set_ticks([0.0, 0.05, 0.1, 0.25, 0.5, 1.0])
    bar.set_label("share of the row's samples\n(square-root scale)")
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def _by_label(names: Sequence[str], prevalence: Mapping[str, float] | Any) -> np.ndarray:
    if isinstance(prevalence, Mapping):
        missing = [name for name in names if name not in prevalence]
        if missing:
            raise ValueError(f"the prevalence of {missing[0]} is missing")
        prevalence = [prevalence[name] for name in names]
    shares = numpy_of(prevalence).astype(float)
    if not names or shares.shape != (len(names),):
        raise ValueError(f"{len(names)} labels require a prevalence each, not an array {shares.shape}")
    return shares


def _indicators(values: Any, names: Sequence[str]) -> np.ndarray:
    array = numpy_of(values)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise ValueError(f"{len(names)} labels require indicators (N, {len(names)}), not {array.shape}")
    return array > 0.5


def _conditional(labels: np.ndarray) -> np.ndarray:
    """Return the share of the samples of each label that also have each other label, (L, L); NaN without samples."""
    together = labels.T.astype(float) @ labels
    own = np.diag(together)[:, None]
    return np.divide(together, own, out=np.full(together.shape, np.nan), where=own > 0)


def _label_rows(ax: Axes, names: Sequence[str]) -> None:
    ax.set_yticks(np.arange(len(names)), [shortened(str(name), _NAME) for name in names], fontsize=8)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0, labelcolor=INK)


def _mean(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f"{known.mean():.1%}" if len(known) else "-"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
