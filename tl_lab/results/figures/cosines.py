"""The figure of the cosines between the gradients of several tasks."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tl_lab.results.figures.drawing import INK, STYLE, numpy_of, shortened

__all__ = ["cosine_matrix"]


@matplotlib.rc_context(STYLE)
def cosine_matrix(cosines: Any, names: Sequence[str], title: str = "Cosines between the tasks' gradients") -> Figure:
    """Draw a matrix of cosines, blue where gradients agree and red where they conflict.

    Args:
        cosines: cosines in [-1, 1], ``(T, T)``; NaN for pairs that were not measured.
        names: names of the T tasks.
        title: title of the figure.

    Raises:
        ValueError: the matrix is not square, or the number of names differs from that of its rows.
    """
    values = numpy_of(cosines)
    if values.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} names require a square matrix of that size, not {values.shape}")
    side = float(np.clip(2.0 + 0.5 * len(names), 3.0, 9.0))
    figure = Figure(figsize=(side + 1.7, side + 0.7), layout="constrained")
    ax = figure.subplots()
    colours = matplotlib.colormaps["RdBu"].with_extremes(bad="#f0f0f0")
    image = ax.imshow(values, cmap=colours, vmin=-1, vmax=1, interpolation="nearest")
    written = [shortened(str(name), 18) for name in names]
    ax.set_xticks(np.arange(len(names)), written, rotation=90 if max(map(len, written)) > 6 else 0)
    ax.set_yticks(np.arange(len(names)), written)
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if len(names) <= 15:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if abs(value) > 0.6 else INK
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour)
    ax.set_title(title)
    bar = figure.colorbar(image, ax=ax, shrink=0.7, aspect=22, pad=0.03)
    bar.set_label("cosine, mean over measured updates")
    bar.outline.set_visible(False)
    return figure
