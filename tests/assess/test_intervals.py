"""Intervals by jackknife and bootstrap: by hand, and how often they cover what is known."""

import numpy as np
import pytest
import torch
from scipy.stats import weightedtau

from tl_lab.assess import similarity
from tl_lab.assess.resampling import folds_of, jackknife, jackknifed
from tl_lab.assess.results import Measure, ratio_with_interval
from tl_lab.functional.calibration import aurc_interval, risk_coverage
from tl_lab.functional.gaussian_distance import frechet_distance, otdd
from tl_lab.functional.rank_agreement import weighted_tau
from tl_lab.functional.representation_similarity import linear_cka
from tl_lab.functional.two_samples import mmd_test


def _draw(n, width, seed):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_jackknife_of_a_mean_is_students_interval_of_the_means_of_folds():
    x = _draw(20, 1, 0)[:, 0]
    found = jackknife(lambda kept: float(x[kept].mean()), 20, folds=5, seed=3)
    means = np.array([float(x[folds_of(20, 5, 3) == k].mean()) for k in range(5)])
    half = 2.776445 * means.std(ddof=1) / 5**0.5  # t of four degrees
    assert found.value == pytest.approx(float(x.mean()))
    assert (found.low, found.high) == (pytest.approx(found.value - half), pytest.approx(found.value + half))


def test_the_jackknife_ends_where_the_statistic_does():
    assert jackknifed(0.1, np.array([0.0, 0.2]), least=0, most=0.5) == Measure(0.1, 0, 0.5)
    assert jackknifed(float("inf"), np.array([1.0, 2.0])) == Measure(float("inf"))
    with pytest.raises(ValueError, match="5 folds need at least 10 samples, and there are 9"):
        jackknife(lambda kept: 0.0, 9, folds=5, seed=0)


def _covered(measure, truth):
    return measure.low <= truth <= measure.high


def test_the_interval_of_the_frechet_distance_covers_a_known_one():
    """N(0, I) against N(1, 4 I) in two dimensions: 2 + 2; halves of one set differ by nothing but sampling."""
    covered = 0
    for seed in range(40):
        one, half = _draw(800, 2, seed).tensor_split(2)
        other = 1 + 2 * _draw(400, 2, seed + 1000)
        found = similarity._against_halves("frechet", [one, half, other], frechet_distance, 5)
        covered += _covered(found["frechet"], 4)
        ratio = found["frechet_over_halves"]
        assert ratio.value == pytest.approx(found["frechet"].value / frechet_distance(one, half))
        assert ratio.low > 1
    assert covered >= 35  # of 40; 95 % are 38


def test_the_interval_of_mmd_covers_the_distance_of_two_normal_distributions():
    """N(0, 1) against N(1, 1) by the kernel exp(-d^2 / m): 2 (1 - exp(-1 / (m + 4))) / sqrt(1 + 4 / m)."""
    covered, narrow = 0, []
    for seed in range(40):
        x, y = _draw(150, 1, seed), 1 + _draw(200, 1, seed + 1000)
        found = similarity._mmd(x, y, 5)
        m = float(torch.nn.functional.pdist(torch.cat([x, y])).square().median())
        covered += _covered(found, 2 * (1 - np.exp(-1 / (m + 4))) / np.sqrt(1 + 4 / m))
        narrow.append(found.low > 0)
    assert found.value == pytest.approx(mmd_test(x, y, 1)[0])
    assert covered >= 35  # of 40; 95 % are 38
    assert np.mean(narrow) > 0.9
    assert similarity._mmd(x[:9], y, 5).low is None


def test_otdd_of_a_shift_by_folds_is_computed_by_hand():
    a, b, c = (_draw(10, 2, seed) for seed in range(3))
    y = torch.tensor([0, 1] * 5, dtype=torch.float64)
    rows = [torch.cat([x, y[:, None]], 1) for x in (a, b, c + 3)]
    found = similarity._against_halves("otdd", rows, similarity._otdd_of_rows, 2)
    labels, even = y.long(), torch.arange(10) % 2 == 0
    left_out = [otdd(a[kept], labels[kept], c[kept] + 3, labels[kept]) for kept in (~even, even)]
    half = 12.7062 * (0.5 * np.square(np.array(left_out) - np.mean(left_out)).sum()) ** 0.5  # t of one degree
    whole = otdd(a, labels, c + 3, labels)
    assert found["otdd"].value == pytest.approx(whole)
    assert found["otdd"].high == pytest.approx(whole + half, rel=1e-5)
    few = similarity._against_halves("otdd", [x[:3] for x in rows], similarity._otdd_of_rows, 2)
    assert few["otdd"].low is None


def test_equal_sets_are_as_far_apart_as_halves():
    covered = 0
    for seed in range(20):
        one, half, other = _draw(180, 3, seed).tensor_split(3)
        found = similarity._against_halves("frechet", [one, half, other], frechet_distance, 5)
        covered += _covered(found["frechet_over_halves"], 1)
    assert covered >= 15


def test_the_interval_of_the_aurc_covers_a_known_one():
    """Confidences even in [0, 1] that are right: the risk at coverage t is t / 2, and the area 1 / 4."""
    covered, widths, areas = 0, [], []
    for seed in range(50):
        draw = np.random.default_rng(seed)
        confidence = draw.random(300)
        correct = draw.random(300) < confidence
        low, high = aurc_interval(confidence, correct, seed=seed)
        areas.append(risk_coverage(confidence, correct)[2])
        assert low < areas[-1] < high
        covered += low <= 0.25 <= high
        widths.append(high - low)
    assert covered >= 44
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.std(areas), rel=0.25)  # 50 draws: 10 % by themselves


def test_answers_that_are_all_right_still_have_an_interval():
    assert aurc_interval(np.linspace(0.5, 1, 100), np.ones(100)) == (0, pytest.approx(0.0370, abs=1e-4))


def test_the_interval_of_cka_covers_a_known_one():
    """y = x + noise of unit variance in one dimension: CKA is the squared correlation, 1 / 2."""
    covered = 0
    for seed in range(40):
        x = _draw(200, 1, seed)
        z = x + _draw(200, 1, seed + 1000)
        found = jackknife(lambda kept, x=x, z=z: linear_cka(x[kept], z[kept]), 200, 5, seed, least=0, most=1)
        covered += _covered(found, 0.5)
    assert covered >= 35


def test_weighted_tau_is_that_of_scipy():
    """Values from 0 to 4, so that most rankings have ties."""
    draw = np.random.default_rng(0)
    x, y = draw.integers(0, 5, size=(2, 60, 7)).astype(float)
    expected = [weightedtau(a, b, rank=None).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(weighted_tau(x, y), expected, atol=1e-12)
    assert np.isnan(weighted_tau(x[:1], np.ones((1, 7)))).all()


def test_ratios_of_seeds_by_hand():
    found = ratio_with_interval([8, 8, 8], [2, 4, 8])
    assert found.value == pytest.approx(2)
    assert found.high / 2 == pytest.approx(2 / found.low) == pytest.approx(2 ** (4.30265 / 3**0.5), rel=1e-5)
    assert ratio_with_interval([4.0], [2.0]) == Measure(2.0)
    assert ratio_with_interval([3.0, 1.0], [0.0, 2.0]).value == 2
