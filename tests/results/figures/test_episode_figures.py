"""Figures of episodes: their content, in grey and colour, with few and many classes."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from texts_of_figures import cut_off, overlapping

from tl_lab.results.figures.drawing import class_colours
from tl_lab.results.figures.episodes import episode_answers, episode_embedding


@pytest.mark.parametrize(("ways", "shots", "channels"), [(5, 1, 1), (3, 5, 3), (20, 1, 1)])
def test_answers_are_framed_by_the_predicted_class(ways, shots, channels):
    rng = np.random.default_rng(0)
    predicted = np.tile(np.arange(ways)[:, None], (1, 4))
    predicted[0, 2] = 1
    names = [f"class {k}" for k in range(ways)]
    support, queries = (rng.random((ways, k, channels, 6, 6)) for k in (shots, 4))
    figure = episode_answers(support, queries, predicted, names, "One")
    assert figure._suptitle.get_text() == f"One: {1 - 1 / (4 * ways):.0%} of {4 * ways} queries correct"
    rows = min(ways, 10)
    axes = np.array(figure.axes).reshape(rows, shots + 5)
    frames = [[to_rgb(ax.spines["left"].get_edgecolor()) for ax in row[shots + 1 :]] for row in axes]
    colours = [tuple(colour) for colour in class_colours(ways)]
    assert frames == [[pytest.approx(colours[predicted[k, q]]) for q in range(4)] for k in range(rows)]
    assert axes[0, shots + 3].get_xlabel() == "≠ class 1"
    shown = axes[0, shots + 1].images[0].get_array()
    expected = queries[0, 0, 0] if channels == 1 else queries[0, 0].transpose(1, 2, 0)
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("names", [list("abcde"), ["golden retriever", "school bus", "African hunting dog"]])
def test_no_text_of_an_episode_is_cut_off_or_covered(names):
    predicted = np.tile(np.arange(len(names))[:, None], (1, 4))
    predicted[0, 1:3] = 2
    figure = episode_answers(
        *np.zeros((2, len(names), 4, 1, 6, 6)), predicted, names, "One episode, 5-way 1-shot, test"
    )
    assert cut_off(figure) == []
    assert overlapping(figure) == []


def test_the_embedding_shows_class_means_and_rings_mistakes():
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(3, 2))
    support = plane[:, None] + 0.1 * rng.normal(size=(3, 4, 2))
    queries = plane[:, None] + 0.1 * rng.normal(size=(3, 5, 2))
    predicted = np.tile(np.arange(3)[:, None], (1, 5))
    predicted[2, :2] = 0
    ax = episode_embedding(support, queries, predicted, ["a", "b", "c"]).axes[0]
    drawn = [collection.get_offsets() for collection in ax.collections]  # a class: support, queries, mistakes, mean
    assert [len(points) for points in drawn] == [4, 5, 0, 1] * 2 + [4, 5, 2, 1]
    for k in range(3):
        np.testing.assert_allclose(drawn[4 * k].mean(0), drawn[4 * k + 3][0], atol=1e-9)
    # two dimensions are turned, not squeezed: distances stay
    between = np.linalg.norm(support[0].mean(0) - support[1].mean(0))
    assert np.linalg.norm(drawn[3] - drawn[7]) == pytest.approx(between)
    assert "100% of the variance" in ax.get_title(loc="left")
