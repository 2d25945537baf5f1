"""Texts as points in the plane; on a page, a point displays its text under the pointer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tl_lab.errors import UserError
from tl_lab.results.figures.drawing import STYLE, class_colours, shortened
from tl_lab.results.figures.embedding import plane_of
from tl_lab.results.folder.files import write_json

__all__ = ["TITLES", "TextPoints", "read_points", "text_points", "texts_figure", "write_points"]

TITLES = "point_titles"
"""Name of the attribute of a scatter plot that holds the text of each of its points."""
_FILE = "texts.json"
_LENGTH = 160  # largest number of characters of a text
_COLUMNS = 2


class TextPoints(NamedTuple):
    """Texts of a test set, placed by a network's features.

    Attributes:
        points: positions in the plane, ``(N, 2)``.
        labels: number of each text's group, ``(N,)``.
        texts: beginnings of the N texts.
        groups: names of the groups.
        grouping: kind of groups: class, combination of labels or range of values.
        answers: predictions for the N texts, as text; empty if there are none.
    """

    points: list[list[float]]
    labels: list[int]
    texts: list[str]
    groups: list[str]
    grouping: str
    answers: list[str]


def text_points(
    features: Any,
    labels: Any,
    texts: Sequence[str | tuple[str, str]],
    groups: Sequence[str],
    grouping: str = "class",
    answers: Sequence[str] = (),
    seed: int = 0,
) -> TextPoints:
    """Place texts in the plane by t-SNE of their features.

    Args:
        features: features of the texts, ``(N, D)``.
        labels: number of each text's group, ``(N,)``.
        texts: N texts, or pairs of texts.
        groups: names of the groups.
        grouping: kind of groups.
        answers: predictions for the N texts, as text; empty if there are none.
        seed: seed of t-SNE.
    """
    places = plane_of(np.asarray(features, dtype=np.float64), seed)
    sides = ((one,) if isinstance(one, str) else one for one in texts)
    shown = [" | ".join(shortened(" ".join(side.split()), _LENGTH) for side in one) for one in sides]
    rounded = [[round(float(x), 3), round(float(y), 3)] for x, y in places]
    return TextPoints(rounded, [int(y) for y in labels], shown, list(groups), grouping, list(answers))


def write_points(found: TextPoints, folder: Path) -> Path:
    """Write the points to ``texts.json`` in a folder of figures."""
    return write_json(folder / _FILE, found._asdict())


def read_points(folder: Path) -> TextPoints | None:
    """Read the points that :func:`write_points` wrote; None if the file is missing or invalid."""
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        found = TextPoints(**content)
        whole = len(found.points) == len(found.labels) == len(found.texts) > 0
        return found if whole and all(0 <= y < len(found.groups) for y in found.labels) else None
    except (OSError, ValueError, TypeError, UserError):
        return None


@matplotlib.rc_context(STYLE)
def texts_figure(runs: Mapping[str, TextPoints]) -> Figure:
    """Draw the texts of each run as points, coloured by group; the points keep their texts for display on a page.

    Args:
        runs: points by heading.
    """
    columns = min(_COLUMNS, len(runs))
    rows = -(-len(runs) // columns)
    figure = Figure(figsize=(0.4 + 4.6 * columns, 0.5 + 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    named: dict[str, Any] = {}
    for ax, (heading, found) in zip(axes, runs.items(), strict=False):
        points, labels = np.array(found.points), np.array(found.labels)
        colours = class_colours(len(found.groups))
        for group, name in enumerate(found.groups):
            inside = np.flatnonzero(labels == group)
            if not len(inside):
                continue
            drawn = ax.scatter(points[inside, 0], points[inside, 1], s=18, alpha=0.75, linewidths=0,
                               color=colours[group])  # fmt: skip
            setattr(drawn, TITLES, [_title(found, int(i)) for i in inside])
            named.setdefault(shortened(name, 24), drawn)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title(heading)
    for ax in axes[len(runs) :]:
        ax.remove()
    grouping = next(iter(runs.values())).grouping
    if len(named) <= 12:
        figure.legend(
            named.values(), named.keys(), loc="outside lower center", ncols=min(4, len(named)), title=grouping
        )
    return figure


def _title(found: TextPoints, i: int) -> str:
    answer = f" (predicted: {found.answers[i]})" if found.answers else ""
    return f"{found.groups[found.labels[i]]}{answer}: {found.texts[i]}"
