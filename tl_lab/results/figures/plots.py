"""The figures of a run and of a sweep: pure functions from numbers to matplotlib Figures.

One style for all: the colours stay apart for colour-blind readers (Petroff 2021, Wong 2011), lines carry their
names at their ends, and nothing touches matplotlib's global state beyond the duration of a call.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tl_lab.results.figures.drawing import (
    DPI,
    GREY,
    GRID,
    INK,
    PALETTE,
    SOURCE,
    STYLE,
    TARGET,
    above,
    boxes_apart,
    class_colours,
    darker,
    name_lines,
    numpy_of,
    shortened,
)
from tl_lab.results.folder.files import replacing
from tl_lab.results.names import is_share, readable, split_name

__all__ = [
    "confusion_matrix",
    "decision_boundary",
    "domain_embedding",
    "learning_curves",
    "save_figures",
    "selection_curve",
    "settings_intervals",
]

_PANELS = {
    "Loss": 2.7,
    "Accuracy": 2.7,
    "Scores": 1.9,
    "Gradient at the features": 1.9,
    "Schedules": 1.6,
    "Learning rate": 1.6,
}  # heights in inches
_LABEL = 0.2  # and of the name of a line
_GRADIENT = "grad_norm_"
_MANY_POINTS = 80
_MANY_CLASSES = 20


@matplotlib.rc_context(STYLE)
def learning_curves(metrics: pd.DataFrame) -> Figure:
    """Draw what a run logged over its steps: losses, accuracies, other scores, how hard each
    term pulls at the features, schedules, learning rates.

    Only the panels that have data are drawn, one above the other over the same steps. Every line is named at its
    end. Balanced accuracy and F1 are drawn where they depart from the accuracy. A long noisy line is drawn light,
    with its centred running mean (a fortieth of its points) over it.

    Args:
        metrics: the wide table of ``metrics.csv``: columns ``step`` (or ``epoch``) and metric names; NaN where
            nothing was logged. Test metrics are left out.

    Returns:
        The figure; one panel that says so where there is nothing to draw.
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
    for ax, (title, names), height in zip(axes, panels.items(), heights, strict=True):
        ax.set_title(title)
        ax.margins(x=0.012)
        lines = [_line(ax, metrics, horizontal, name, rank) for rank, name in enumerate(names)]
        if title in ("Loss", "Gradient at the features", "Learning rate"):
            _log_if_wide(ax, metrics[names].to_numpy(dtype=float))
        elif title == "Accuracy":
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        elif title == "Schedules":
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
        if len(names) > 1 or _curve_label(names[0], names) != title.lower():
            name_lines(ax, lines, [_curve_label(name, names) for name in names], height)
    axes[-1].set_xlabel("training step" if horizontal == "step" else "epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@matplotlib.rc_context(STYLE)
def confusion_matrix(matrix: Any, class_names: Sequence[str], title: str = "Confusion matrix") -> Figure:
    """Draw a confusion matrix, coloured by the share of each true class.

    The colour scale is the square root of the share, so that rare confusions can be seen beside a strong
    diagonal. Counts stand in the cells of up to 15 classes, the recall of each class at the right of up to 40.

    Args:
        matrix: counts (C, C), rows true, columns predicted.
        class_names: C names.
        title: what was tested, for example ``target, test part``.

    Returns:
        The figure.

    Raises:
        ValueError: the matrix is not square, or the names are not as many as its rows.
    """
    counts = numpy_of(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.shape[0] != len(class_names):
        raise ValueError(f"a square matrix for {len(class_names)} class names is needed, not {counts.shape}")
    size, totals = len(class_names), counts.sum(axis=1)
    share = np.divide(counts, totals[:, None], out=np.full(counts.shape, np.nan), where=totals[:, None] > 0)
    side = float(np.clip(2.4 + 0.34 * size, 3.2, 10.5))
    figure = Figure(figsize=(side + 1.7, side + 0.7), layout="constrained")
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


@matplotlib.rc_context(STYLE)
def domain_embedding(
    features_source: Any,
    labels_source: Any,
    features_target: Any,
    labels_target: Any | None,
    class_names: Sequence[str],
    *,
    max_points: int = 1000,
    seed: int = 0,
) -> Figure:
    """Draw source and target features in two dimensions: rows PCA and t-SNE, columns by class and by domain.

    Both projections see both domains together. Points are drawn in random order, so that neither domain hides the
    other. t-SNE (perplexity 30 or less, PCA start) shows neighbourhoods only: its distances mean little.

    Args:
        features_source: (N, D).
        labels_source: (N,), integers in [0, C).
        features_target: (M, D).
        labels_target: (M,), or None: the target is then grey in the column coloured by class.
        class_names: C names.
        max_points: at most so many points are drawn, half of them from each domain where it has enough.
        seed: of the subsample, the drawing order and t-SNE.

    Returns:
        The figure.

    Raises:
        ValueError: a domain has no sample with finite features, or the dimensions D differ.

    References:
        van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    rng = np.random.default_rng(seed)
    source, source_y = _finite(features_source, labels_source, "source")
    target, target_y = _finite(features_target, labels_target, "target")
    if source.shape[1] != target.shape[1]:
        raise ValueError(f"source features have {source.shape[1]} dimensions, target features {target.shape[1]}")
    kept_source, kept_target = _subsample(len(source), len(target), max_points, rng)
    features = np.concatenate([source[kept_source], target[kept_target]]).astype(np.float64)
    labels = np.concatenate([source_y[kept_source], target_y[kept_target]])
    is_target = np.arange(len(features)) >= len(kept_source)
    pca, explained = _pca(features)
    shown = [(f"PCA ({explained:.0%} of the variance)", pca[:, :2]), ("t-SNE", _tsne(pca, seed))]

    figure = Figure(figsize=(10.6, 8.8), layout="constrained")
    axes = figure.subplots(2, 2)
    order = rng.permutation(len(features))
    colours = class_colours(len(class_names))
    for row, (name, points) in enumerate(shown):
        _scatter(axes[row, 0], points, order, [_point_colour(colours, y) for y in labels], is_target)
        _scatter(axes[row, 1], points, order, [TARGET if one else SOURCE for one in is_target], is_target)
        axes[row, 0].set_ylabel(name, color=INK, fontsize=10)
        if len(class_names) <= _MANY_CLASSES:
            _name_clusters(axes[row, 0], points, labels, is_target, class_names, colours)
    axes[0, 0].set_title("by class")
    axes[0, 1].set_title("by domain")
    _class_legend(figure, axes, class_names, colours, unlabelled=labels_target is None)
    _domain_legend(figure, len(kept_source), len(kept_target))
    return figure


@matplotlib.rc_context(STYLE)
def decision_boundary(
    source: Any,
    labels_source: Any,
    target: Any,
    labels_target: Any | None,
    grid: tuple[Any, Any],
    probabilities: Any,
    class_names: Sequence[str],
) -> Figure:
    """Draw points of the plane from both domains over what the classifier says of the plane.

    Args:
        source: (N, 2).
        labels_source: (N,), integers in [0, C).
        target: (M, 2).
        labels_target: (M,), or None: the target is then grey.
        grid: coordinates along both axes, (W,) and (H,).
        probabilities: of the classes at each point of the grid, (H, W, C).
        class_names: C names.

    Returns:
        The figure: the plane tinted by the predicted class, stronger the surer, and the boundary as a line.
    """
    across, down = (numpy_of(part) for part in grid)
    p = numpy_of(probabilities).astype(np.float64)
    colours = class_colours(len(class_names))
    rgb: list[Any] = [_point_colour(colours, i)[:3] for i in range(len(class_names))]
    best, sureness = p.argmax(2), (p.max(2) - 1 / p.shape[2]) / (1 - 1 / p.shape[2])
    tint = 1 - 0.35 * sureness[..., None] * (1 - np.array(rgb)[best])
    figure = Figure(figsize=(6.6, 5.4), layout="constrained")
    ax = figure.subplots()
    extent = (across[0], across[-1], down[0], down[-1])
    ax.imshow(tint, extent=extent, origin="lower", aspect="equal", interpolation="bilinear")
    for label in range(len(class_names)):
        ahead = p[..., label] - np.delete(p, label, axis=2).max(2)
        if ahead.min() < 0 < ahead.max():
            ax.contour(across, down, ahead, levels=[0.0], colors=INK, linewidths=1.0)
    drawn = [("source", source, labels_source, "o", 14), ("target", target, labels_target, "^", 20)]
    for domain, points, labels, marker, size in drawn:
        x = numpy_of(points)
        known = labels is not None
        chosen = [_point_colour(colours, int(y)) for y in numpy_of(labels)] if known else [to_rgb(GREY)] * len(x)
        filled = {"c": chosen} if domain == "source" else {"facecolors": "white", "edgecolors": chosen}
        ax.scatter(x[:, 0], x[:, 1], s=size, marker=marker, linewidths=0.9, **filled)
    ax.grid(visible=False)
    ax.set_title("What the classifier says of the plane, as it is used on the target")
    marks = [Line2D([], [], ls="", marker="o", color=colour) for colour in rgb]
    marks += [Line2D([], [], ls="", marker="o", color=GREY), Line2D([], [], ls="", marker="^", mfc="white", mec=GREY)]
    marks.append(Line2D([], [], color=INK, lw=1.0))
    words = [*class_names, "source", "target" if labels_target is not None else "target (no labels)", "boundary"]
    figure.legend(marks, words, loc="outside lower center", ncols=len(words))
    return figure


@matplotlib.rc_context(STYLE)
def selection_curve(epochs: Sequence[int], accuracies: Sequence[float], chosen: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the target's accuracy over epochs, with the epochs that validators would have chosen.

    Args:
        epochs: from 1, E of them.
        accuracies: on the target's test part after each, in [0, 1], (E,).
        chosen: rows of :func:`tl_lab.results.folder.selection.selection`; those that chose the same epoch share a line.

    Returns:
        The figure; the oracle's epoch is dashed.
    """
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    ax = figure.subplots()
    ax.plot(epochs, accuracies, color=TARGET, marker="o" if len(epochs) <= 25 else "", ms=3.5)
    ax.margins(x=0.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel("target accuracy, test part")
    by_epoch: dict[int, list[Mapping[str, Any]]] = {}
    for row in chosen:
        by_epoch.setdefault(row["epoch"], []).append(row)
    handles, labels = [], []
    for epoch, rows in sorted(by_epoch.items()):
        dashes = "--" if all(row["oracle"] for row in rows) else "-"
        handles.append(ax.axvline(epoch, color=GREY, lw=0.9, ls=dashes, zorder=0.5))
        names = [str(row["chooser"]).split(" (")[0].replace("_", " ") for row in rows]
        labels.append("\n".join([f"epoch {epoch}, chosen by", *names]))
        ax.plot([epoch], [rows[0]["target_acc"]], "o", color=TARGET, ms=6.5, mec="white", mew=1.0)
    if handles:
        figure.legend(handles, labels, loc="outside right upper", fontsize=8.5, labelspacing=0.9)
    return figure


@matplotlib.rc_context(STYLE)
def settings_intervals(
    summary: pd.DataFrame, metrics: Sequence[str], seeds: pd.DataFrame | None = None, confidence: float = 0.95
) -> Figure:
    """Draw the settings of a sweep, a row each: mean, confidence interval and the single seeds.

    Args:
        summary: a row a setting, with the columns ``setting``, ``n``, ``<metric> mean`` and ``<metric> ci95`` of
            :func:`tl_lab.results.tables.summarising.summarise`.
        metrics: names of the metrics to draw, a panel each.
        seeds: a row a run with columns ``setting`` and the metrics, drawn as small light dots; None: none.
        confidence: what the intervals cover, for the label.

    Returns:
        The figure, settings from top to bottom in the order of ``summary``.
    """
    settings = [shortened(str(name), 60) for name in summary["setting"]]
    rows = np.arange(len(settings))
    width = 2.6 + 0.055 * max(map(len, settings), default=0)
    figure = Figure(figsize=(width + 3.0 * len(metrics), 1.3 + 0.34 * max(len(settings), 2)), layout="constrained")
    axes = figure.subplots(1, max(len(metrics), 1), sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, metrics, strict=True):
        split, part, metric = split_name(name)
        scale = 100.0 if is_share(metric) else 1.0
        if seeds is not None:
            position = {setting: row for row, setting in enumerate(summary["setting"])}
            known = seeds[seeds["setting"].isin(position)]
            ax.plot(
                scale * known[name], known["setting"].map(position) + 0.24, "o", color=SOURCE, ms=4, alpha=0.4, mew=0,
                label="one seed",
            )  # fmt: skip
        mean, half = scale * summary[f"{name} mean"], scale * summary[f"{name} ci95"]
        ax.hlines(rows, mean - half, mean + half, color=SOURCE, lw=2.2, label=f"{confidence:.0%} interval")
        ax.plot(mean, rows, "o", color=SOURCE, ms=6.5, mec="white", mew=1.0, label="mean")
        ax.set_title(" ".join(filter(None, (part, readable(metric)))))
        ax.set_xlabel(split + (" set, %" if scale > 1 else " set"))
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0, labelcolor=INK)
        ax.margins(x=0.08)
        if scale > 1 and bool(mean.between(0, 100).all()):  # an interval over few seeds may leave what is possible
            low, high = ax.get_xlim()
            ax.set_xlim(max(low, -2), min(high, 102))
        ax.xaxis.set_major_locator(MaxNLocator(5))
    axes[0].set_yticks(rows, settings)
    axes[0].set_ylim(len(settings) - 0.4, -0.6)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=3, labelcolor=GREY, fontsize=8)
    return figure


def save_figures(figures: Mapping[str, Figure], folder: str | Path) -> list[Path]:
    """Write figures as PNG files, each whole or not at all.

    Args:
        figures: name -> figure; a ``/`` in the name becomes ``_``.
        folder: where; made if missing.

    Returns:
        The paths, in the order of the figures.

    Raises:
        UserError: a file cannot be written.
    """
    paths = []
    for name, figure in figures.items():
        path = Path(folder) / f"{name.replace('/', '_')}.png"
        with replacing(path) as beside, matplotlib.rc_context(STYLE):
            figure.savefig(beside, dpi=DPI)
        paths.append(path)
    return paths


# --- learning curves ---------------------------------------------------------------------------------------------


def _panels(metrics: pd.DataFrame) -> dict[str, list[str]]:
    """Sort the columns that have data into panels, in the order in which the panels are drawn."""
    panels: dict[str, list[str]] = {title: [] for title in _PANELS}
    for name in metrics.columns:
        split, _, metric = split_name(name)
        if name in ("epoch", "step") or split == "test" or not np.isfinite(_column(metrics, name)).any():
            continue
        if not _says_the_same(metrics, name):
            panels[_panel(split, metric)].append(name)
    return {title: names for title, names in panels.items() if names}


def _panel(split: str, metric: str) -> str:
    if metric.startswith(_GRADIENT):
        return "Gradient at the features"
    if is_share(metric):
        return "Accuracy"
    if metric == "lr" or metric.startswith(("lr-", "lr_")) or metric.endswith("_lr"):
        return "Learning rate"
    if "loss" in metric or "penalty" in metric:
        return "Loss"
    return "Schedules" if split == "train" else "Scores"


def _says_the_same(metrics: pd.DataFrame, name: str) -> bool:
    """Whether a balanced accuracy or F1 stays within two points of the accuracy beside it, and would hide it."""
    plain = name.rpartition("/")[0] + "/acc"
    if name == plain or plain not in metrics or split_name(name).metric not in ("balanced_acc", "f1_macro"):
        return False
    return bool(np.nanmax(np.abs(_column(metrics, name) - _column(metrics, plain)), initial=0.0) <= 0.02)


def _column(metrics: pd.DataFrame, name: str) -> np.ndarray:
    return pd.to_numeric(metrics[name], errors="coerce").to_numpy(dtype=float)


def _line(ax: Axes, metrics: pd.DataFrame, horizontal: str, name: str, rank: int) -> Line2D:
    """Draw one metric and return the line that its name shall stand beside."""
    x, y = _column(metrics, horizontal), _column(metrics, name)
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    split = split_name(name).split
    colour = PALETTE[rank % len(PALETTE)]
    dashes = ":" if split == "oracle" else "-"
    if len(y) > _MANY_POINTS and np.abs(np.diff(y, 2)).mean() > 0.02 * np.ptp(y):
        ax.plot(x, y, color=colour, alpha=0.22, lw=0.8)
        y = pd.Series(y).rolling(max(len(y) // 40, 3), center=True, min_periods=1).mean().to_numpy()
    marker = "o" if (len(y) <= 25 and split != "train") or len(y) == 1 else ""
    return ax.plot(x, y, dashes, color=colour, marker=marker, ms=3.5)[0]


def _curve_label(name: str, panel: Sequence[str]) -> str:
    """Name a line by what tells it from the others of its panel."""
    split, part, metric = split_name(name)
    if metric.startswith(_GRADIENT):
        return readable(metric.removeprefix(_GRADIENT))
    words = [split, part] if _panel(split, metric) not in ("Schedules", "Learning rate") else [part]
    alone = sum(split_name(other)[:2] == (split, part) for other in panel) == 1
    if metric == "loss" and split == "train" and not alone:
        words.append("total loss")
    elif metric not in ("acc", "loss") or not alone:
        words.append(readable(metric))
    return " ".join(filter(None, words))


def _log_if_wide(ax: Axes, values: np.ndarray) -> None:
    """Use a logarithmic axis where nearly all values span more than a factor of 30 and none is zero or below."""
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.02, 0.98])
    if values.min() > 0 and high / low > 30:
        ax.set_yscale("log")


# --- confusion matrix --------------------------------------------------------------------------------------------


def _class_ticks(ax: Axes, class_names: Sequence[str], side: float) -> None:
    size = len(class_names)
    every = -(-size // 100)
    ticks = np.arange(0, size, every)
    names = [shortened(str(class_names[tick]), 18) for tick in range(0, size, every)]
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


# --- embedding ---------------------------------------------------------------------------------------------------


def _finite(features: Any, labels: Any | None, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Take the samples with finite features; label -1 stands for no label."""
    x = numpy_of(features)
    y = np.full(len(x), -1) if labels is None else numpy_of(labels).astype(int)
    if x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"{domain}: features (N, D) and labels (N,) are needed, not {x.shape} and {y.shape}")
    good = np.isfinite(x).all(axis=1)
    if not good.any():
        raise ValueError(f"{domain}: no sample has finite features")
    return x[good], y[good]


def _subsample(n: int, m: int, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose up to ``most`` of n + m samples, half from each domain where both have enough."""
    take_n = min(n, max(most // 2, most - m))
    take_m = min(m, most - take_n)
    return rng.permutation(n)[:take_n], rng.permutation(m)[:take_m]


def _pca(features: np.ndarray, dimensions: int = 50) -> tuple[np.ndarray, float]:
    """Project on the first principal components; also the share of variance of the first two."""
    centred = features - features.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    keep = min(dimensions, len(s))
    # The sign of a component is arbitrary: fix it by its largest weight, so that pictures can be compared.
    signs = np.sign(vt[np.arange(keep), np.abs(vt[:keep]).argmax(axis=1)])
    points = u[:, :keep] * s[:keep] * np.where(signs == 0, 1, signs)
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return points, float((s[:2] ** 2).sum() / max((s**2).sum(), 1e-300))


def _tsne(points: np.ndarray, seed: int) -> np.ndarray:
    """Embed by t-SNE, as the picture has it: centred, one unit the root mean square of the distances."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(points) < 5 or np.ptp(points) == 0:
        return points[:, :2]
    perplexity = min(30.0, (len(points) - 1) / 3)
    scale = points[:, 0].std() or 1.0
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=750, random_state=seed, n_jobs=1)
    # scikit-learn takes all cores for it: on a shared machine that is ten times slower, and the picture would
    # depend on their number.
    with threadpool_limits(limits=1):
        return tsne.fit_transform((points / scale).astype(np.float32))


def _point_colour(colours: np.ndarray, label: int) -> tuple[float, ...]:
    return tuple(colours[label]) if 0 <= label < len(colours) else to_rgb("#a8a8a8")


def _scatter(ax: Axes, points: np.ndarray, order: np.ndarray, colours: Sequence[Any], is_target: np.ndarray) -> None:
    """Draw circles for the source and crosses for the target, interleaved at random."""
    # A marker is a property of a whole scatter: a few slices keep the two domains mixed in depth.
    for chunk in np.array_split(order, min(12, len(order))):
        for domain, marker, size, width in ((False, "o", 15, 0.0), (True, "x", 15, 1.0)):
            chosen = chunk[is_target[chunk] == domain]
            if len(chosen):
                ax.scatter(
                    points[chosen, 0], points[chosen, 1], s=size, marker=marker, linewidths=width, alpha=0.7,
                    c=[colours[i] for i in chosen],
                )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.spines[:].set_visible(True)
    ax.margins(0.04)


def _name_clusters(
    ax: Axes,
    points: np.ndarray,
    labels: np.ndarray,
    is_target: np.ndarray,
    class_names: Sequence[str],
    colours: np.ndarray,
) -> None:
    """Write each class's name in the midst of its source points (its target points where it has no others)."""
    from matplotlib.patheffects import withStroke

    places = {}
    for label in range(len(class_names)):
        own = points[(labels == label) & ~is_target]
        own = own if len(own) else points[labels == label]
        if len(own):
            # The point with the smallest median distance to its class: a mean may fall between two clusters.
            distance = np.linalg.norm(own[:, None] - own[None], axis=2)
            places[label] = own[np.median(distance, axis=1).argmin()]
    if not places:
        return
    names = [shortened(str(class_names[label]), 12) for label in places]
    ax.set_xlim(ax.get_xlim())  # settles the limits, which matplotlib computes late
    ax.set_ylim(ax.get_ylim())
    where = ax.transLimits.transform(np.array(list(places.values())))
    where = boxes_apart(where, np.array([0.018 * len(name) + 0.008 for name in names]), 0.034)
    for label, name, (x, y) in zip(places, names, where, strict=True):
        ax.text(
            x, y, name, transform=ax.transAxes, ha="center", va="center", fontsize=9, fontweight="bold",
            color=darker(colours[label], 0.45), path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _class_legend(
    figure: Figure, axes: np.ndarray, class_names: Sequence[str], colours: np.ndarray, unlabelled: bool
) -> None:
    if len(class_names) > _MANY_CLASSES:
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, len(class_names) - 1))
        scale.set_cmap(ListedColormap(list(colours)))
        bar = figure.colorbar(scale, ax=axes[:, 0], shrink=0.6, aspect=30, label="class, in the order of the names")
        bar.outline.set_visible(False)
        return
    handles = [Line2D([], [], ls="", marker="s", ms=7, color=colour) for colour in colours]
    names = [shortened(str(name), 18) for name in class_names]
    if unlabelled:
        handles.append(Line2D([], [], ls="", marker="x", ms=5, color="#a8a8a8"))
        names.append("target (no labels)")
    figure.legend(handles, names, loc="outside right upper", title="class", alignment="left")


def _domain_legend(figure: Figure, n: int, m: int) -> None:
    handles = [
        Line2D([], [], ls="", marker="o", ms=5.5, mew=0, color=SOURCE),
        Line2D([], [], ls="", marker="x", ms=5, color=TARGET),
    ]
    names = [f"source ({n:,} points)", f"target ({m:,} points)"]
    figure.legend(handles, names, loc="outside lower center", ncols=2)
