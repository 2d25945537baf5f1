"""The figure of a learning-rate range test."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from tl_lab.results.figures.drawing import GREY, SOURCE, STYLE

__all__ = ["rate_curve"]


@matplotlib.rc_context(STYLE)
def rate_curve(rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], chosen: float) -> Figure:
    """Draw the loss over the learning rates of a range test.

    Args:
        rates: learning rates in ascending order, (N,).
        losses: loss before the update at each rate, (N,).
        smoothed: smoothed losses, from which the rate was chosen, (N,).
        chosen: the chosen learning rate.

    Returns:
        The figure; a line marks the chosen rate.
    """
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    ax = figure.subplots()
    ax.plot(rates, losses, color=SOURCE, alpha=0.35, lw=1.0)
    ax.plot(rates, smoothed, color=SOURCE)
    ax.set_xscale("log")
    # a diverging loss at the end would flatten the rest of the curve
    low, first = min(smoothed), smoothed[0]
    ax.set_ylim(top=min(max(losses), first + 1.5 * max(first - low, 1e-12)))
    ax.axvline(chosen, color=GREY, lw=0.9, ls="--")
    ax.annotate(
        f"chosen: {chosen:g}", (chosen, 1.0), xycoords=("data", "axes fraction"), xytext=(4, -10),
        textcoords="offset points", color=GREY,
    )  # fmt: skip
    ax.set_title("Loss during the first updates, with growing learning rate")
    ax.set_xlabel("learning rate (of the head)")
    ax.set_ylabel("loss")
    return figure
