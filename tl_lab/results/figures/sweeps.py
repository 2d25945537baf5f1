"""The figures of a sweep beside its intervals: curves over seeds, ranks over data sets, accuracy by number of labels.

Nothing here imports torch.
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tl_lab.results.figures.drawing import GREY, INK, STYLE, class_colours, darker, name_lines, shortened
from tl_lab.results.names import heading, is_share, split_name
from tl_lab.results.tables.comparing import Ranking
from tl_lab.results.tables.curves import Curve
from tl_lab.results.tables.label_budgets import Budget

__all__ = ["budgets_figure", "curves_figure", "ranks_figure"]


@matplotlib.rc_context(STYLE)
def curves_figure(curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """Draw learning curves: the mean over seeds, a band of one standard deviation to either side.

    Args:
        curves: metric -> setting -> curve, a panel a metric.

    Returns:
        The figure; settings keep their colours over the panels, and are named below.
    """
    settings = list(dict.fromkeys(setting for panel in curves.values() for setting in panel))
    colours = dict(zip(settings, class_colours(len(settings)), strict=True))
    columns = 1 if max(map(len, settings), default=0) > 45 else 2
    rows = -(-len(settings) // columns)
    figure = Figure(figsize=(4.6 * len(curves), 3.1 + 0.19 * rows), layout="constrained")
    for ax, (name, panel) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        scale = 100.0 if is_share(split_name(name).metric) else 1.0
        for setting, curve in panel.items():
            mean, spread = scale * curve.mean, scale * curve.spread
            alone = {"marker": "o", "ms": 4} if len(mean) == 1 else {}
            ax.plot(curve.steps, mean, color=colours[setting], **alone)
            if np.isfinite(spread).any():
                band = mean - spread, mean + spread
                ax.fill_between(curve.steps, *band, color=colours[setting], alpha=0.18, lw=0)
        ax.set_title(heading(name))
        ax.set_xlabel("update")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles = [Line2D([], [], color=colour, label=shortened(name, 90)) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=8, labelcolor=INK)
    return figure


@matplotlib.rc_context(STYLE)
def ranks_figure(ranking: Ranking) -> Figure:
    """Draw methods on the line of mean ranks; a bar joins those that do not differ (Demsar, JMLR 2006, figure 1).

    Args:
        ranking: of at least two methods.

    Returns:
        The figure, the best method on the left.
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
    """Draw accuracy against the number of labels, a line a way of learning, with intervals over seeds.

    Args:
        metric: the accuracy's name.
        budgets: as :func:`tl_lab.results.tables.label_budgets.find_budgets` gives them.

    Returns:
        The figure; the axis of labels is logarithmic.
    """
    ways = list(dict.fromkeys(budget.way for budget in budgets))
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    ax = figure.subplots()
    ax.set_xscale("log")
    lines = []
    for i, (way, colour) in enumerate(zip(ways, class_colours(len(ways)), strict=True)):
        beside = 1 + 0.025 * (i - (len(ways) - 1) / 2)  # intervals at the same number of labels stand side by side
        own = [budget for budget in budgets if budget.way == way]
        x, y = [beside * budget.labels for budget in own], [100 * budget.mean for budget in own]
        half = np.nan_to_num([100 * budget.half for budget in own])
        lines += ax.plot(x, y, "-o", color=colour, ms=5.5, mec="white", mew=0.9)
        ax.vlines(x, y - half, y + half, color=darker(colour, 0.0), lw=1.4, alpha=0.6)
    ticks = sorted({budget.labels: budget.everything for budget in budgets}.items())
    names = {labels: f"{labels:,}" + ("\n(all)" if everything else "") for labels, everything in ticks}
    ax.set_xticks(list(names))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names.get(round(x), "")))
    ax.minorticks_off()
    ax.set_xlabel("labels of the training set")
    ax.set_title(heading(metric))
    name_lines(ax, lines, [shortened(way.replace("strategy=", ""), 44) for way in ways], 3.2)
    return figure
