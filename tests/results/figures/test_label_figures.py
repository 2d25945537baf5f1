"""Scores, errors and co-occurrence of labels: bars and cells against numbers by hand."""

import itertools

import numpy as np
import pytest
from texts_of_figures import cut_off, overlapping

from tl_lab.results.figures.labels import label_confusion, label_scores, labels_together

TRUE = np.array([[1, 0], [1, 1], [1, 0], [0, 1]])
PREDICTED = np.array([[1, 0], [0, 1], [1, 1], [1, 1]])


def test_labels_stand_in_the_given_order_beside_their_prevalence():
    scores = {"prime": {"auroc": 0.9, "ap": 0.4}, "even": {"auroc": 0.6, "ap": 0.5}, "odd": {"auroc": np.nan}}
    figure = label_scores(scores, {"even": 0.5, "prime": 0.4, "odd": 0.0})
    ax, beside = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["prime", "even", "odd"]
    auroc, ap = ax.containers
    np.testing.assert_allclose([bar.get_width() for bar in auroc], [0.9, 0.6, np.nan])
    np.testing.assert_allclose([bar.get_width() for bar in ap], [0.4, 0.5, np.nan])
    assert (auroc.get_label(), ap.get_label()) == ("AUROC (mean 75.0%)", "average precision (mean 45.0%)")
    assert [bar.get_width() for bar in beside.containers[0]] == [0.4, 0.5, 0.0]
    assert [text.get_text() for text in beside.texts] == ["40.0%", "50.0%", "0.0%"]
    chance = [segment[0][0] for segment in ax.collections[0].get_segments()]
    assert chance == [0.4, 0.5, 0.0], "the average precision of a score that tells nothing"
    assert ax.get_xlim() == (0, 1)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_names_of_any_number_of_labels_do_not_overlap(count):
    names = [f"a long name of label {i}" for i in range(count)]
    labels = np.random.default_rng(0).random((50, count)) > 0.5
    of_each = {name: {"auroc": 0.7, "ap": 0.5} for name in names}
    for figure in (
        label_scores(of_each, labels.mean(0)),
        label_confusion(labels, labels, names),
        labels_together(labels, labels, names),
    ):
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        assert len(boxes) == count
        assert not any(above.overlaps(below) for above, below in itertools.pairwise(boxes))


@pytest.mark.parametrize("names", [["a", "b"], ["prime", "above 4", "has a loop"], [f"finding {i}" for i in range(9)]])
def test_no_text_is_cut_off_or_covered(names):
    labels = np.random.default_rng(0).random((50, len(names))) > 0.5
    of_each = {name: {"auroc": 0.7, "ap": 0.5} for name in names}
    for figure in (
        label_scores(of_each, labels.mean(0)),
        label_confusion(labels, labels, names),
        labels_together(labels, labels, names),
    ):
        assert cut_off(figure) == []
        assert overlapping(figure) == []


def test_chance_is_named_for_both_scores():
    figure = label_scores({"a": {"auroc": 0.7, "ap": 0.5}}, [0.3])
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"AUROC of a random prediction", "average precision of a random prediction"} < set(words)


def test_errors_of_each_label_are_counted():
    figure = label_confusion(TRUE, PREDICTED, ["a", "b"])
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    counts = {bars.get_label(): [bar.get_width() for bar in bars] for bars in ax.containers}
    assert counts == {"found": [2, 2], "missed": [1, 0], "false alarm": [1, 1]}
    texts = [text.get_text() for text in ax.texts]
    assert texts[:4] == ["66.7%", "66.7%", "100.0%", "66.7%"], "recall and precision"
    assert texts[-1] == "exact match 25.0%, 4 samples"


def test_labels_together_are_shares_of_the_rows_samples():
    figure = labels_together(TRUE, PREDICTED, ["a", "b"])
    true, predicted = (ax.images[0].get_array() for ax in figure.axes[:2])
    np.testing.assert_allclose(true, [[1, 1 / 3], [1 / 2, 1]])
    np.testing.assert_allclose(predicted, [[1, 2 / 3], [2 / 3, 1]])
    empty = labels_together(TRUE * 0, PREDICTED, ["a", "b"]).axes[0].images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(empty)).all(), "a label that no sample has"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="prevalence of b is missing"):
        label_scores({"a": {"auroc": 0.5}, "b": {"auroc": 0.5}}, {"a": 0.1})
    with pytest.raises(ValueError, match=r"\(N, 3\)"):
        label_confusion(TRUE, PREDICTED, ["a", "b", "c"])
