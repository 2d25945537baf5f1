"""The figure of answers in passages, with predicted words filled and true words framed."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tl_lab.results.figures.drawing import GREY, INK, STYLE, class_colours, shortened

__all__ = ["Answered", "answered_passages"]

_ACROSS, _LINES = 88, 6  # characters per line; lines per passage
_HEIGHT = 0.19  # height of a line in inches


class Answered(NamedTuple):
    """A question and its passage, with the answers.

    Attributes:
        question: text of the question.
        words: words of the passage.
        predicted: positions of the first and last word of the predicted answer.
        true: positions of the first and last word of the true answer.
    """

    question: str
    words: Sequence[str]
    predicted: tuple[int, int]
    true: tuple[int, int]


@matplotlib.rc_context(STYLE)
def answered_passages(shown: Sequence[Answered], title: str = "Answers") -> Figure:
    """Draw questions with the part of each passage around the answer.

    Args:
        shown: questions with their passages, at least one.
        title: title of the figure.
    """
    figure = Figure(figsize=(7.6, 0.5 + len(shown) * (_LINES + 2.2) * _HEIGHT), layout="constrained")
    for ax, one in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        _passage(ax, one)
    figure.suptitle(f"{title}: filled as predicted, framed as true", fontsize=9)
    return figure


def lines_of(words: Sequence[str]) -> list[list[int]]:
    """Break words into lines of at most :data:`_ACROSS` characters, and return the positions of each line's words."""
    lines: list[list[int]] = [[]]
    used = 0
    for place, word in enumerate(words):
        width = len(shortened(word, _ACROSS)) + 1
        if lines[-1] and used + width > _ACROSS:
            lines.append([])
            used = 0
        lines[-1].append(place)
        used += width
    return lines


def _passage(ax: Axes, one: Answered) -> None:
    lines, colour = lines_of(one.words), class_colours(1)[0]
    middle = next(row for row, line in enumerate(lines) if line and line[-1] >= one.true[0])
    top = max(0, min(middle - _LINES // 2, len(lines) - _LINES))
    for row, line in enumerate(lines[top : top + _LINES]):
        left = 0
        for place in line:
            word = shortened(one.words[place], _ACROSS)
            width = len(word) + 1
            corner, size = (left - 0.3, row - 0.5), (width - 0.4, 0.94)
            if one.predicted[0] <= place <= one.predicted[1]:
                ax.add_patch(Rectangle(corner, *size, color=colour, alpha=0.35, lw=0))
            answer = one.true[0] <= place <= one.true[1]
            if answer:
                ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, lw=1.1))
            ax.text(left, row, word, family="monospace", fontsize=9.2, va="center", color=INK if answer else GREY)
            left += width
    ax.set_title(shortened(one.question, 100), fontsize=9, loc="left")
    ax.set_xlim(-1, _ACROSS)
    ax.set_ylim(_LINES - 0.4, -0.7)
    ax.set_axis_off()
