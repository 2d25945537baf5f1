"""Risks on the target from weighted losses on the source, against numpy."""

import math

import numpy as np
import pytest
import torch

from tl_lab.functional import controlled_risk, weighted_risk

LOSSES, WEIGHTS = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.5, 3.0, 1.0])


def test_the_weighted_risk_of_three_samples():
    assert weighted_risk(LOSSES, WEIGHTS) == pytest.approx((0.5 + 6 + 4) / 3, rel=1e-15)
    assert weighted_risk(LOSSES, WEIGHTS, normalise=True) == pytest.approx(10.5 / 4.5, rel=1e-15)
    assert weighted_risk(LOSSES, torch.ones(3)) == weighted_risk(LOSSES, torch.ones(3), True) == pytest.approx(7 / 3)
    assert weighted_risk(LOSSES, torch.zeros(3)) == 0
    assert math.isnan(weighted_risk(LOSSES, torch.zeros(3), normalise=True))


def test_true_weights_give_the_targets_risk():
    """Three source points with p_s = (1/2, 1/4, 1/4) stand for a target with p_t = (1/4, 1/2, 1/4)."""
    point = torch.tensor([0, 0, 1, 2])
    loss = torch.tensor([1.0, 3.0, 5.0])[point]
    weights = torch.tensor([0.5, 2.0, 1.0])[point]
    expected = 0.25 * 1 + 0.5 * 3 + 0.25 * 5
    assert weighted_risk(loss, weights) == weighted_risk(loss, weights, normalise=True) == pytest.approx(expected)
    assert controlled_risk(loss, weights) == pytest.approx(expected), "weights of mean 1 leave nothing to control"


@pytest.mark.parametrize("seed", range(5))
def test_the_controlled_risk_against_numpy(seed):
    draw = np.random.default_rng(seed)
    losses, weights = draw.exponential(size=50), draw.exponential(scale=1.7, size=50)
    covariance = np.cov(weights * losses, weights, ddof=1)
    eta = -covariance[0, 1] / covariance[1, 1]
    expected = np.mean(weights * losses) + eta * np.mean(weights) - eta
    found = controlled_risk(torch.from_numpy(losses), torch.from_numpy(weights))
    assert found == pytest.approx(expected, rel=1e-12)
    assert found != pytest.approx(weighted_risk(torch.from_numpy(losses), torch.from_numpy(weights)), rel=1e-3)


def test_the_control_variate_removes_the_weights_error_from_a_constant_loss():
    assert controlled_risk(torch.full((3,), 0.7), WEIGHTS) == pytest.approx(0.7, rel=1e-7)
    assert weighted_risk(torch.full((3,), 0.7), WEIGHTS) == pytest.approx(1.05)


def test_weights_that_do_not_vary_are_no_control():
    assert controlled_risk(LOSSES, torch.full((3,), 2.0)) == pytest.approx(14 / 3, rel=1e-15)
    assert controlled_risk(LOSSES[:1], WEIGHTS[:1]) == 0.5
