"""The figure of scores by model size."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tl_lab.results.figures.drawing import GREY, STYLE, class_colours, name_lines
from tl_lab.results.names import heading
from tl_lab.results.tables.scale import OfSize

__all__ = ["scale_figure"]


@matplotlib.rc_context(STYLE)
def scale_figure(found: Sequence[OfSize]) -> Figure:
    """Draw accuracy against the number of parameters, with one line per set of prompts, and the accuracy of chance.

    Args:
        found: rows as returned by :func:`tl_lab.results.tables.scale.find_scale`.

    Returns:
        The figure; the axis of parameters is logarithmic. Points whose interval includes chance are hollow.
    """
    figure = Figure(figsize=(7.2, 3.9), layout="constrained")
    ax = figure.subplots()
    ax.set_xscale("log")
    ways, lines = list(dict.fromkeys(each.way for each in found)), []
    for number, (way, colour) in enumerate(zip(ways, class_colours(len(ways)), strict=True)):
        own = [each for each in found if each.way == way]
        beside = 1 + 0.02 * (number - (len(ways) - 1) / 2)  # separates the intervals of models of the same size
        x = beside * np.array([each.parameters for each in own])
        y = 100 * np.array([each.acc for each in own])
        lines += ax.plot(x, y, "-", color=colour)
        ax.vlines(
            x, [100 * each.low for each in own], [100 * each.high for each in own], color=colour, lw=1.4, alpha=0.6
        )
        for place, each in enumerate(own):
            absent = each.verdict == "absent at this scale"
            ax.plot(x[place], y[place], "o", color=colour, mfc="white" if absent else colour, ms=6)
        ax.plot(x, [100 * each.chance for each in own], "--", color=GREY, lw=1.0)
    ticks = sorted({each.parameters for each in found})
    ax.set_xticks(ticks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:,.3g} M"))
    ax.minorticks_off()
    ax.set_xlabel("parameters of the model")
    ax.set_title(heading("test/acc"))
    name_lines(ax, lines, [way.replace("strategy.", "").replace("data=", "") or "all runs" for way in ways], 3.2)
    return figure
