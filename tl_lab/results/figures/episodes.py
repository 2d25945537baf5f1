"""The figures of few-shot learning: a test episode with its predictions, and its embedding with prototypes."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tl_lab.results.figures.drawing import GREY, INK, STYLE, class_colours, numpy_of, shortened

__all__ = ["episode_answers", "episode_embedding"]

_ROWS, _SUPPORT, _QUERIES = 10, 5, 8  # largest numbers of classes, and of support and query images per class
_NAME = 22  # largest number of characters of a class name


@matplotlib.rc_context(STYLE)
def episode_answers(
    support: Any, queries: Any, predicted: Any, class_names: Sequence[str], title: str = "One test episode"
) -> Figure:
    """Draw an episode, one row per class: support images, and queries framed in the colour of the predicted class.

    Args:
        support: images in [0, 1], ``(N, K, C, H, W)`` with one or three channels C.
        queries: images in [0, 1], ``(N, Q, C, H, W)``.
        predicted: predicted class of each query, ``(N, Q)``, in 0..N - 1; that of a query in row k is correct if it is
            k.
        class_names: names of the N classes.
        title: title of the figure.

    Returns:
        The figure, with at most 10 classes, and 5 support images and 8 queries of each.
    """
    shown = numpy_of(support)[:_ROWS, :_SUPPORT], numpy_of(queries)[:_ROWS, :_QUERIES]
    answers = numpy_of(predicted)
    rows, columns = len(shown[0]), shown[0].shape[1] + 1 + shown[1].shape[1]
    longest = max(len(shortened(name, _NAME)) for name in class_names[:rows])
    width = max(0.3 + 0.075 * longest + 0.72 * (columns - 0.65), 4.4)  # the narrowest that the title fits
    figure = Figure(figsize=(width, 0.75 + 0.72 * rows), layout="constrained")
    widths = [1.0] * shown[0].shape[1] + [0.35] + [1.0] * shown[1].shape[1]
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"width_ratios": widths})
    colours = class_colours(len(class_names))
    first = shown[0].shape[1] + 1
    for k in range(rows):
        for place in range(columns):
            ax = axes[k, place]
            _bare(ax)
            if place < first - 1:
                _image(ax, shown[0][k, place], colours[k], 2.0)
            elif place >= first:
                answer = int(answers[k, place - first])
                _image(ax, shown[1][k, place - first], colours[answer], 2.0 if answer == k else 3.2)
                if answer != k:
                    text = shortened(class_names[answer], _NAME // 2)
                    ax.set_xlabel(f"≠ {text}", fontsize=6.5, color=INK, labelpad=1.5)
        axes[k, 0].set_ylabel(
            shortened(class_names[k], _NAME), rotation=0, ha="right", va="center", color=INK, fontsize=8
        )
    axes[0, 0].set_title("support", fontsize=9)
    axes[0, first].set_title("queries", fontsize=9)
    right = (answers == np.arange(len(answers))[:, None]).mean()
    figure.suptitle(f"{title}: {right:.0%} of {answers.size} queries correct", x=0.01, ha="left", fontsize=10)
    return figure


@matplotlib.rc_context(STYLE)
def episode_embedding(
    support: Any,
    queries: Any,
    predicted: Any,
    class_names: Sequence[str],
    title: str = "Embedding of one test episode",
) -> Figure:
    """Draw the embeddings of an episode on their first two principal components, with the prototype of each class.

    Args:
        support: embeddings of the support, ``(N, K, D)``.
        queries: embeddings of the queries, ``(N, Q, D)``.
        predicted: predicted class of each query, ``(N, Q)``.
        class_names: names of the N classes.
        title: title of the figure.

    Returns:
        The figure, with prototypes (means of the support) as stars, the support as dots, and queries as crosses, with a
        ring around misclassified ones.
    """
    shots, asked, answers = (numpy_of(part) for part in (support, queries, predicted))
    ways, width = shots.shape[0], shots.shape[2]
    means = shots.mean(1)
    together = np.concatenate([shots.reshape(-1, width), asked.reshape(-1, width)]).astype(np.float64)
    centre = together.mean(0)
    _, spread, directions = np.linalg.svd(together - centre, full_matrices=False)
    plane = np.zeros((width, 2))
    plane[:, : min(2, len(directions))] = directions[:2].T
    explained = (spread[:2] ** 2).sum() / max((spread**2).sum(), np.finfo(float).tiny)
    figure = Figure(figsize=(6.6, 5.2), layout="constrained")
    ax = figure.subplots()
    _bare(ax)
    ax.spines[:].set_visible(True)
    for k, colour in zip(range(ways), class_colours(ways), strict=True):
        for part, marker, size in ((shots[k], "o", 26), (asked[k], "x", 26)):
            points = (part - centre) @ plane
            ax.scatter(points[:, 0], points[:, 1], s=size, marker=marker, color=colour, linewidths=1.2, alpha=0.85)
        wrong = (asked[k][answers[k] != k] - centre) @ plane
        ax.scatter(wrong[:, 0], wrong[:, 1], s=95, facecolors="none", edgecolors=INK, linewidths=0.9)
        star = (means[k] - centre) @ plane
        ax.scatter(star[0], star[1], s=190, marker="*", color=colour, edgecolors=INK, linewidths=0.8, zorder=3)
    ax.margins(0.06)
    ax.set_title(f"{title} (PCA, {explained:.0%} of the variance)")
    marks = [Line2D([], [], ls="", marker="s", color=colour) for colour in class_colours(ways)[:_ROWS]]
    words = [shortened(name, _NAME) for name in class_names[:_ROWS]]
    for word, marker in (("prototype", "*"), ("support", "o"), ("query", "x")):
        marks.append(Line2D([], [], ls="", marker=marker, color=GREY, ms=9 if marker == "*" else 6))
        words.append(word)
    marks.append(Line2D([], [], ls="", marker="o", mfc="none", mec=INK, ms=9))
    figure.legend(marks, [*words, "misclassified"], loc="outside right upper", fontsize=8)
    return figure


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _image(ax: Axes, image: np.ndarray, colour: Any, width: float) -> None:
    picture = image[0] if len(image) != 3 else image.transpose(1, 2, 0)
    ax.imshow(np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.spines[:].set(visible=True, color=colour, linewidth=width)
