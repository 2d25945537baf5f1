"""Predictions against true values: the drawing, and the printed numbers."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from sklearn.metrics import mean_absolute_error, r2_score

from tl_lab.results.figures.regression import prediction_scatter


def _texts(ax):
    return [text.get_text() for text in ax.texts]


def test_scores_are_those_of_scikit_learn_and_axes_have_units():
    true = np.array([1.0, 2.0, 4.0, 8.0])
    predicted = np.array([1.5, 2.0, 3.0, 9.0])
    figure = prediction_scatter(true, predicted, ["age"], units=["years"], title="test")
    scatter, residuals = figure.axes
    r2, mae = r2_score(true, predicted), mean_absolute_error(true, predicted)
    assert _texts(scatter) == [f"R² {r2:.3f}, MAE {mae:.4g} years"]
    assert _texts(residuals) == ["mean +0.125, n = 4"]
    assert scatter.get_xlabel() == "true age (years)"
    assert scatter.get_ylabel() == "predicted age (years)"
    assert residuals.get_ylabel() == "predicted - true (years)"
    np.testing.assert_allclose(scatter.collections[0].get_offsets(), np.stack([true, predicted], 1))
    np.testing.assert_allclose(residuals.collections[0].get_offsets(), np.stack([predicted, predicted - true], 1))
    identity = scatter.lines[0].get_xydata()
    np.testing.assert_allclose(identity[:, 0], identity[:, 1])
    assert scatter.get_xlim() == scatter.get_ylim()


def test_many_samples_are_a_density_and_at_most_four_outputs_are_drawn():
    values = np.random.default_rng(0).normal(size=(3000, 5))
    figure = prediction_scatter(values, values, list("abcde"))
    assert len(figure.axes) == 8
    assert isinstance(figure.axes[0].collections[0], PolyCollection)
    assert figure.axes[0].collections[0].get_array().sum() == 3000
    assert "the first 4 of 5 outputs" in figure.get_suptitle()
    assert _texts(figure.axes[0]) == ["R² 1.000, MAE 0"]


def test_samples_that_are_not_finite_are_left_out_and_a_constant_has_no_r2():
    figure = prediction_scatter([1.0, 1.0, np.nan], [1.5, np.inf, 0.0], ["x"])
    assert _texts(figure.axes[0]) == ["R² -, MAE 0.5"]
    assert _texts(figure.axes[1]) == ["mean +0.5, n = 1"]
    with pytest.raises(ValueError, match="no sample"):
        prediction_scatter([np.nan], [1.0], ["x"])
    with pytest.raises(ValueError, match="1 outputs"):
        prediction_scatter([[1.0, 2.0]], [[1.0, 2.0]], ["x"])
