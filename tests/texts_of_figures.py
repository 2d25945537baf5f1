"""Where the texts of a figure are drawn, to find those that are cut off or cover each other."""

import itertools

from matplotlib.text import Text


def cut_off(figure):
    """The texts that reach beyond the figure."""
    outer = figure.bbox
    return [
        text
        for text, box in _drawn(figure)
        if box.x0 < outer.x0 - 1 or box.y0 < outer.y0 - 1 or box.x1 > outer.x1 + 1 or box.y1 > outer.y1 + 1
    ]


def overlapping(figure):
    """The pairs of texts that cover each other by more than a pixel; the empty second line of a title is left out."""
    drawn = [(text, box.padded(-1)) for text, box in _drawn(figure) if not text.endswith("\n")]
    return [(a, b) for (a, box), (b, other) in itertools.combinations(drawn, 2) if box.overlaps(other)]


def _drawn(figure):
    figure.draw_without_rendering()
    every, shown = set(), set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        every.update(axis.get_ticklabels(which="both"))
        shown.update(tick.label1 for tick in axis._update_ticks())  # others are beyond the limits
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts if text not in every - shown]
    return boxes  # of an annotation without its arrow
