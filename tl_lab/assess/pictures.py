"""The figures of an assessment, in the project's style."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tl_lab.assess.results import Measure
from tl_lab.functional.calibration import Reliability
from tl_lab.results.figures.drawing import GREY, INK, PALETTE, SOURCE, STYLE, TARGET

__all__ = ["bars", "curves", "plane", "reliability_diagram", "scatter_scores"]

_WIDTH = 4.8  # inches: the width of a phone, on which letters keep their size
_TICKS = 6  # on a logarithmic axis at most, at what was measured
_FEW = 5  # bins with fewer samples are not drawn


@matplotlib.rc_context(STYLE)
def plane(sets: Mapping[str, np.ndarray], most: int = 500) -> Figure:
    """Draw two sets of features ``(N, D)`` on the two main directions of both together."""
    draw = np.random.default_rng(0)
    parts = {name: x[draw.permutation(len(x))[:most]].astype(float) for name, x in sets.items()}
    both = np.concatenate(list(parts.values()))
    centred = both - both.mean(0)
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    share = values[:2] ** 2 / max((values**2).sum(), 1e-300)
    figure = Figure(figsize=(_WIDTH, 3.6), layout="constrained")
    ax = figure.subplots()
    for (name, x), colour, marker in zip(parts.items(), (SOURCE, TARGET), "o^", strict=False):
        points = (x - both.mean(0)) @ right[:2].T
        ax.scatter(points[:, 0], points[:, 1], s=13, alpha=0.6, linewidths=0, color=colour, marker=marker, label=name)
    ax.set_xlabel(f"first principal component ({share[0]:.0%} of variance)")
    ax.set_ylabel(f"second ({share[1] if len(share) > 1 else 0:.0%})")
    ax.set_xticks([], [])
    ax.set_yticks([], [])
    figure.legend(loc="outside upper left", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def bars(values: Mapping[str, Measure], label: str, *, percent: bool = False, line: float | None = None) -> Figure:
    """Draw measures with their intervals as points on lines, the first on top."""
    figure = Figure(figsize=(_WIDTH, 0.7 + 0.34 * max(2, len(values))), layout="constrained")
    ax = figure.subplots()
    for i, one in enumerate(values.values()):
        if one.low is not None and one.high is not None:
            ax.plot([one.low, one.high], [i, i], color=PALETTE[0], lw=5, alpha=0.35)
        ax.plot([one.value], [i], "o", color=SOURCE, ms=6)
    ax.set_yticks(range(len(values)), list(values))
    ax.tick_params(axis="y", labelcolor=INK)
    ax.set_ylim(len(values) - 0.5, -0.5)
    if line is not None:
        ax.axvline(line, color=GREY, lw=1, ls="--")
    if percent:
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel(label)
    return figure


@matplotlib.rc_context(STYLE)
def reliability_diagram(parts: Mapping[str, Reliability]) -> Figure:
    """Draw accuracy against confidence, one panel per set."""
    figure = Figure(figsize=(2.2 * max(2, len(parts)) + 0.4, 2.7), layout="constrained")
    axes = np.atleast_1d(np.asarray(figure.subplots(1, len(parts), sharey=True)))
    for ax, (name, found) in zip(axes, parts.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        known = found.counts >= _FEW
        sizes = 12 + 140 * found.counts[known] / found.counts.sum()
        ax.scatter(
            found.confidence[known], found.accuracy[known], s=sizes, color=SOURCE, alpha=0.75, linewidths=0,
            clip_on=False,
        )  # fmt: skip
        ax.set_title(name)
        ax.set_xlabel("confidence")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(-0.02, 1.02)
    axes[0].set_ylabel("accuracy")
    return figure


@matplotlib.rc_context(STYLE)
def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    percent_x: bool = False,
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    percent_y: bool = True,
    whole_x: bool = False,
) -> Figure:
    """Draw lines by name, with measured points in the same colour; ``whole_x`` marks integers only."""
    figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
    ax = figure.subplots()
    for i, (name, (x, y)) in enumerate(lines.items()):
        ax.plot(x, y, color=PALETTE[i % len(PALETTE)], label=name)
        if points and name in points:
            ax.plot(*points[name], "o", color=PALETTE[i % len(PALETTE)], ms=5)
    if log_x:
        ax.set_xscale("log")
        shown = sorted({number for x, _ in (points or lines).values() for number in x})
        shown = shown[:: -(-len(shown) // _TICKS)]
        ax.set_xticks(shown, [f"{number:,.0f}" for number in shown])
        ax.minorticks_off()
    if percent_x:
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if whole_x:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if percent_y:
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    if len(lines) > 1:
        figure.legend(loc="outside upper left", ncols=2)
    return figure


@matplotlib.rc_context(STYLE)
def scatter_scores(points: Mapping[str, tuple[float, float]], x_label: str, y_label: str) -> Figure:
    """Draw named points, such as backbones by score and accuracy."""
    figure = Figure(figsize=(_WIDTH, 3.2), layout="constrained")
    ax = figure.subplots()
    for i, (name, (x, y)) in enumerate(points.items()):
        ax.plot([x], [y], "o", color=PALETTE[i % len(PALETTE)], ms=8)
        place: Any = {"textcoords": "offset points", "xytext": (7, 4), "fontsize": 8.5}
        ax.annotate(name, (x, y), **place)
    ax.margins(0.2)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    return figure
