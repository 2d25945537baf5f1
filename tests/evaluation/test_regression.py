"""Scores of numbers against scikit-learn and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from tl_lab.evaluation import regression_scores
from tl_lab.problems import Regression

DRAW = torch.Generator().manual_seed(0)
Y = 100 + 10 * torch.randn(50, 2, generator=DRAW)
F = Y + 5 * torch.randn(50, 2, generator=DRAW)


def test_scores_are_those_of_scikit_learn_and_scipy():
    scores = {name: float(value) for name, value in regression_scores(F, Y).items()}
    assert scores["r2"] == pytest.approx(r2_score(Y, F), rel=1e-6)
    assert scores["mae"] == pytest.approx(mean_absolute_error(Y, F), rel=1e-6)
    assert scores["mse"] == pytest.approx(mean_squared_error(Y, F), rel=1e-6)
    ranks = np.mean([spearmanr(Y[:, k], F[:, k]).statistic for k in range(2)])
    assert scores["spearman"] == pytest.approx(ranks, rel=1e-6)


def test_constant_targets_have_no_r2_and_no_rank_correlation():
    constant = torch.full((5, 1), 3.0)
    scores = regression_scores(torch.arange(5.0)[:, None], constant)
    assert math.isnan(scores["r2"])
    assert math.isnan(scores["spearman"])
    assert float(scores["mae"]) == pytest.approx(1.4)
    assert float(regression_scores(constant, torch.arange(5.0)[:, None])["r2"]) == pytest.approx(-0.5)


def test_a_meter_scores_in_the_units_of_the_targets():
    problem = Regression(["a", "b"])
    problem.learn(Y)
    meter = problem.meter()
    meter.update(problem.scale(F).float(), Y)
    scores = meter.compute()
    assert scores["mae"] == pytest.approx(mean_absolute_error(Y, F), rel=1e-4)
    assert scores["loss"] == pytest.approx(((F - Y) / Y.std(0, unbiased=False)).square().mean().item(), rel=1e-4)
    torch.testing.assert_close(meter.last_predicted, F.double(), rtol=1e-4, atol=1e-3)


def test_targets_far_from_the_origin_keep_their_digits():
    y = 1e9 + 10 * torch.randn(40, 1, generator=DRAW, dtype=torch.double)
    problem = Regression(["value"])
    problem.learn(y)
    meter = problem.meter()
    meter.update(problem.scale(y + 2).float(), y)
    scores = meter.compute()
    assert scores["mae"] == pytest.approx(2, rel=1e-4)
    assert scores["r2"] == pytest.approx(1 - 4 / float(y.var(unbiased=False)), rel=1e-4)
    assert float(problem.criterion(y)(problem.scale(y).float(), y)) < 1e-10


def test_targets_that_differ_by_rounding_alone_are_constant():
    problem = Regression(["value"])
    problem.learn(torch.full((7, 1), 0.1, dtype=torch.double))
    assert problem.deviation.tolist() == [1.0]


def test_quantities_without_a_score_are_excluded_from_means():
    y = torch.stack([torch.arange(5.0), torch.full((5,), 2.0)], 1)
    assert float(regression_scores(y, y)["r2"]) == 1.0
    meter = Regression(["a"]).meter()
    meter.update(torch.tensor([[torch.nan], [1.0]]), torch.tensor([[0.0], [1.0]]))
    assert all(math.isnan(value) for value in meter.compute().values())
