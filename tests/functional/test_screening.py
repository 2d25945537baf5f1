"""Areas under the curve with DeLong's interval, operating points and calibration, from their definitions."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tl_lab.functional.screening import auroc_interval, calibration_error, delong, rates_at, threshold_at


def _by_definition(scores: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    high, low = scores[y == 1], scores[y == 0]
    psi = (high[:, None] > low).astype(float) + 0.5 * (high[:, None] == low)
    v10, v01 = psi.mean(1), psi.mean(0)
    return psi.mean(), v10.var(ddof=1) / len(high) + v01.var(ddof=1) / len(low)


@pytest.mark.parametrize("ties", [False, True])
def test_area_and_variance_follow_their_definition(ties: bool) -> None:
    draw = np.random.default_rng(0)
    y = draw.integers(0, 2, 60)
    scores = draw.normal(size=60) + y
    scores = scores.round() if ties else scores
    found = delong(torch.from_numpy(scores), torch.from_numpy(y))
    assert found == pytest.approx(_by_definition(scores, y), abs=1e-12)
    assert found[0] == pytest.approx(roc_auc_score(y, scores), abs=1e-12)


def test_intervals_lie_around_the_area() -> None:
    scores, y = torch.tensor([0.1, 0.4, 0.35, 0.8, 0.7, 0.2]), torch.tensor([0, 0, 1, 1, 1, 0])
    area, low, high = auroc_interval(scores, y)
    half = 1.959963984540054 * math.sqrt(_by_definition(scores.double().numpy(), y.numpy())[1])
    assert area == pytest.approx(8 / 9)
    assert low == pytest.approx(8 / 9 - half)
    assert high == 1.0  # cut
    assert auroc_interval(torch.tensor([0.1, 0.2, 0.8, 0.9]), torch.tensor([0, 0, 1, 1])) == (1.0, 1.0, 1.0)
    assert all(map(math.isnan, delong(torch.tensor([0.1, 0.2]), torch.tensor([1, 1]))))


def test_the_interval_covers_the_true_area() -> None:
    """Of normal scores one apart the area is Phi(1 / sqrt 2): about 95 of 100 intervals hold it."""
    draw, true = torch.Generator().manual_seed(0), 0.5 * (1 + math.erf(0.5))
    y = torch.arange(100) % 2
    held = 0
    for _ in range(200):
        _, low, high = auroc_interval(torch.randn(100, generator=draw) + y, y)
        held += low <= true <= high
    assert 180 <= held <= 198


def test_the_operating_point_has_the_requested_specificity() -> None:
    low, high = torch.arange(20.0), torch.tensor([5.0, 17.5, 30.0])
    scores, y = torch.cat([low, high]), torch.cat([torch.zeros(20), torch.ones(3)])
    threshold = threshold_at(scores, y, 0.9)
    assert threshold == 17.0  # 18 of 20 negative samples lie at or below it
    assert rates_at(scores, y, threshold) == pytest.approx((2 / 3, 0.9))
    assert threshold_at(scores, y, 1.0) == 19.0
    assert math.isnan(threshold_at(high, torch.ones(3)))


def test_calibration_error_of_two_bins() -> None:
    p, y = torch.tensor([0.9, 0.9, 0.1, 0.1]), torch.tensor([1, 0, 0, 0])
    assert calibration_error(p, y) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([1, 0])) == 0.0
