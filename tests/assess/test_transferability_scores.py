"""LogME, H-score, LEEP, NCE and TransRate against closed forms and published values."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets

from tl_lab.functional.class_separation import h_score, regularised_h_score, transrate
from tl_lab.functional.label_transfer import leep, nce
from tl_lab.functional.log_evidence import gaussian_evidence, logme

P = torch.tensor(
    [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.1, 0.1, 0.8], [0.3, 0.4, 0.3]],
    dtype=torch.float64,
)
Y = torch.tensor([0, 0, 1, 1, 2, 2])


def _bundled(name):
    found = getattr(datasets, f"load_{name}")()
    return torch.from_numpy(found.data), torch.from_numpy(found.target).long()


@pytest.mark.parametrize(
    ("name", "evidence", "h", "regularised"),
    [
        ("iris", -0.160060, 1.191899, 1.177842),
        ("wine", -0.004459, 1.705821, 0.766098),
        ("breast_cancer", -0.185003, 0.774325, 0.577058),
        ("digits", 0.270277, 5.917909, 5.851433),
    ],
)
def test_bundled_sets_have_the_published_scores(name, evidence, h, regularised):
    x, y = _bundled(name)
    assert logme(x, y) == pytest.approx(evidence, abs=5e-5)
    assert h_score(x, y) == pytest.approx(h, abs=1e-6)
    assert regularised_h_score(x, y) == pytest.approx(regularised, abs=1e-6)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(n=st.integers(3, 30), width=st.integers(1, 40), seed=st.integers(0, 1000))
def test_the_evidence_is_the_density_of_a_multivariate_normal(n, width, seed):
    from scipy.stats import multivariate_normal

    draw = torch.Generator().manual_seed(seed)
    f = torch.randn(n, width, generator=draw, dtype=torch.float64)
    # noise keeps the best beta finite where features could explain every target
    y = (torch.randn(n, 2, generator=draw, dtype=torch.float64) + f[:, :1]).round(decimals=1)
    value, alpha, beta = gaussian_evidence(f, y)
    for k in range(2):
        covariance = f @ f.T / alpha[k] + torch.eye(n, dtype=torch.float64) / beta[k]
        expected = (
            multivariate_normal.logpdf(y[:, k].numpy(), np.zeros(n), covariance.numpy(), allow_singular=False) / n
        )
        assert float(value[k]) == pytest.approx(expected, rel=1e-6, abs=1e-8)
        for other in (0.9, 1.1):  # no neighbour is better
            worse = f @ f.T / (alpha[k] * other) + torch.eye(n, dtype=torch.float64) / beta[k]
            assert multivariate_normal.logpdf(y[:, k].numpy(), np.zeros(n), worse.numpy()) / n <= expected + 1e-9


def test_few_samples_of_many_random_features_do_not_score_above_a_coin():
    draw = torch.Generator().manual_seed(0)
    scores = [logme(torch.randn(20, 500, generator=draw), torch.arange(20) % 2) for _ in range(5)]
    alone = 0.5 * (math.log(1 / 0.5) - 1 - math.log(2 * math.pi))  # of beta = N / |y|^2 and no features
    assert np.mean(scores) == pytest.approx(alone, abs=0.06)


def test_classes_without_samples_change_nothing():
    x, y = _bundled("iris")
    assert logme(x, 3 * y) == pytest.approx(logme(x, y), abs=1e-12)
    assert h_score(x, 3 * y) == pytest.approx(h_score(x, y), abs=1e-12)


def test_the_h_score_is_the_trace_of_the_whitened_covariance_of_class_means():
    x, y = _bundled("wine")
    centred = x - x.mean(0)
    means = torch.stack([centred[y == c].mean(0) for c in range(3)])[y]
    expected = torch.linalg.solve(centred.T @ centred, means.T @ means).trace()
    assert h_score(x, y) == pytest.approx(float(expected), abs=1e-9)


def test_one_hot_features_of_the_classes_reach_the_largest_h_score():
    y = torch.arange(40) % 4
    assert h_score(torch.eye(4)[y], y) == pytest.approx(3.0)


@pytest.mark.parametrize("shape", [(40, 12), (15, 60)])
def test_the_fast_basis_gives_the_same_scores_and_shrinkage_is_ledoit_and_wolfs(shape):
    from sklearn.covariance import ledoit_wolf

    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(len(x)) % 3
    for score in (logme, h_score, regularised_h_score):
        assert score(x, y, exact=False) == pytest.approx(score(x, y), rel=1e-9)
    centred = x - x.mean(0)
    shrunk, shrinkage = ledoit_wolf(centred.numpy(), assume_centered=True)
    means = torch.stack([centred[y == c].mean(0) for c in range(3)])[y]
    inverse = torch.linalg.inv(torch.from_numpy(shrunk))
    expected = (1 - shrinkage) * float((inverse @ means.T @ means).trace()) / (len(x) - 1)
    assert regularised_h_score(x, y) == pytest.approx(expected, rel=1e-9)


def test_transrate_is_the_difference_of_coding_rates():
    # two classes on two lines: log det of a diagonal matrix, by hand
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    y = torch.tensor([0, 0, 1, 1])
    eps = 0.1
    whole = 0.5 * (math.log(1 + 8 / (4 * eps)) + math.log(1 + 2 / (4 * eps)))
    parts = 0.5 * 0.5 * (math.log(1 + 8 / (2 * eps)) + math.log(1 + 2 / (2 * eps)))
    assert transrate(x, y, eps) == pytest.approx(whole - parts)
    wide = torch.cat([x, torch.zeros(4, 9, dtype=torch.float64)], 1)  # more features than samples
    assert transrate(wide, y, eps) == pytest.approx(whole - parts)


def test_leep_and_nce_of_a_small_table():
    assert leep(P, Y) == pytest.approx(-0.8554804492587752, abs=1e-12)
    assert nce(P.argmax(1), Y) == pytest.approx(-0.46209812037329684, abs=1e-12)


def test_leep_of_a_perfect_source_is_zero_and_of_a_uniform_one_the_entropy():
    assert leep(torch.eye(3)[Y], Y) == pytest.approx(0)
    assert leep(torch.full((6, 4), 0.25), Y) == pytest.approx(-math.log(3))


def test_a_source_class_without_mass_changes_nothing():
    assert leep(torch.cat([P, torch.zeros(6, 1)], 1), Y) == pytest.approx(leep(P, Y), abs=1e-12)


def test_nce_of_the_digits_parity_and_half():
    y = _bundled("digits")[1]
    assert nce(y % 2, y) == pytest.approx(-1.609367, abs=1e-6)
    assert nce(y // 5, y) == pytest.approx(-1.609336, abs=1e-6)


@pytest.mark.parametrize("score", [logme, h_score, regularised_h_score, transrate])
def test_one_class_only_is_refused_in_one_sentence(score):
    with pytest.raises(ValueError, match="the labels have only one"):
        score(torch.randn(5, 3), torch.zeros(5, dtype=torch.long))


@pytest.mark.parametrize("score", [h_score, regularised_h_score, transrate])
def test_constant_features_are_refused_in_one_sentence(score):
    with pytest.raises(ValueError, match="no feature varies"):
        score(torch.full((6, 3), 7.0), Y)


@pytest.mark.parametrize(
    ("p", "message"),
    [(2 * P, "between 0 and 1"), (P / 2, "sum to one"), (P[:0], "one row per sample"), (P * torch.nan, "0 and")],
)
def test_what_are_no_probabilities_is_refused_in_one_sentence(p, message):
    with pytest.raises(ValueError, match=message):
        leep(p, Y)
