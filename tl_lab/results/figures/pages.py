"""The figure of pages: words at their positions, with predicted and true fields."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from tl_lab.results.figures.drawing import GREY, INK, STYLE, class_colours, shortened

__all__ = ["tagged_pages"]

_PAGES = 3  # largest number of pages
_WORD = 18  # largest number of characters of a word


@matplotlib.rc_context(STYLE)
def tagged_pages(
    pages: Sequence[tuple[Sequence[str], Sequence[Sequence[int]]]],
    predicted: Sequence[Sequence[str]],
    true: Sequence[Sequence[str]],
    kinds: Sequence[str],
    title: str = "Predicted fields",
) -> Figure:
    """Draw pages, with boxes filled in the colour of the predicted field and framed in the colour of the true field.

    Args:
        pages: words of each page, and their boxes (left, top, right, bottom in 0..1000).
        predicted: predicted field of each word; empty for none.
        true: true field of each word; empty for none.
        kinds: names of the fields.
        title: title of the figure.

    Returns:
        The figure, with at most three pages.
    """
    shown = list(zip(pages, predicted, true, strict=True))[:_PAGES]
    figure = Figure(figsize=(3.6 * len(shown), 5.4), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    colours = dict(zip(kinds, class_colours(len(kinds)), strict=True))
    for ax, ((words, boxes), ours, theirs) in zip(axes, shown, strict=True):
        for word, box, field, truth in zip(words, boxes, ours, theirs, strict=False):
            left, top, right, bottom = box
            if field:
                ax.add_patch(Rectangle((left, top), right - left, bottom - top, color=colours[field], alpha=0.35, lw=0))
            if truth:
                ax.add_patch(
                    Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colours[truth], lw=1.2)
                )
            ax.text(
                left, bottom, shortened(word, _WORD), fontsize=3.6, va="bottom", ha="left", color=INK if truth else GREY
            )
        ax.spines[["top", "right"]].set_visible(True)  # the edges of the page
        ax.set_xlim(0, 1000)
        ax.set_ylim(1010, -10)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.suptitle(f"{title}: filled as predicted, framed as true", fontsize=9)
    figure.legend(
        handles=[Patch(color=colours[kind], label=kind) for kind in kinds],
        loc="outside lower center",
        ncols=len(kinds),
        fontsize=8,
    )
    return figure
