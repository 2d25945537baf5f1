"""Intervals and corrections against scipy and computations by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tl_lab.results.tables.statistics import (
    both_of,
    friedman,
    half_width,
    holm,
    nemenyi,
    paired_t,
    studentized_range,
    t_quantile,
    verdict,
)


def test_a_half_width_is_that_of_students_t():
    values = [0.70, 0.74, 0.72, 0.79]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-12)
    assert half_width(values, 0.9) == pytest.approx(stats.t.ppf(0.95, 3) * stats.sem(values), rel=1e-12)


def test_fewer_than_three_values_have_no_interval():
    assert np.isnan(half_width([0.7]))
    assert np.isnan(half_width([0.86, 0.82])), "it would be 84 +- 25.4 per cent"
    assert np.isnan(t_quantile([0, 1])).all()
    assert both_of([0.86, 0.82]) == (0.82, 0.86)
    assert np.isnan(both_of([0.7])).all()
    assert np.isnan(both_of([0.7, 0.8, 0.9])).all()
    two = paired_t([0.04, -0.02])
    assert (two.n, two.both) == (2, (-0.02, 0.04))
    assert two.mean == pytest.approx(0.01)
    assert np.isnan([two.half, two.p]).all()


def test_holm_steps_down_from_the_smallest():
    # .01 x 4; .02 x 3; .03 x 2, raised to the one before where that is larger; the last x 1
    assert holm([0.03, None, 0.01, 0.04, 0.02]) == pytest.approx([0.06, None, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_paired_t_test_is_scipys():
    a, b = np.array([0.70, 0.74, 0.72, 0.79]), np.array([0.69, 0.70, 0.73, 0.74])
    reference = stats.ttest_rel(a, b)
    found = paired_t(a - b)
    assert found.n == 4
    assert found.mean == pytest.approx(0.0225)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-10)
    assert found.mean - found.half == pytest.approx(reference.confidence_interval(0.95).low, rel=1e-9)


def test_the_paired_t_test_by_hand():
    # differences 1, 2, 3: d = 2, s = 1, t = 2 sqrt(3); with two degrees of freedom P(|T| > t) = 1 - t / sqrt(t^2 + 2)
    t = 2 * np.sqrt(3)
    assert paired_t([1, 2, 3]).p == pytest.approx(1 - t / np.sqrt(t**2 + 2), rel=1e-12)
    assert np.isnan(paired_t([0.5]).p)
    assert paired_t([0.25, 0.25, 0.25])[2:4] == (0.0, 0.0)
    assert paired_t([0, 0, 0])[2:4] == (0.0, 1.0)
    assert paired_t([]).n == 0


# Demsar (JMLR 2006), tables 6 and 5 (a): AUC of four variants of C4.5 on 14 data sets, and their ranks; q for alpha .05
DEMSAR = np.array([
    [.763, .768, .771, .798], [.599, .591, .590, .569], [.954, .971, .968, .967], [.628, .661, .654, .657],
    [.882, .888, .886, .898], [.936, .931, .916, .931], [.661, .668, .609, .685], [.583, .583, .563, .625],
    [.775, .838, .866, .875], [1., 1., 1., 1.], [.940, .962, .965, .962], [.619, .666, .614, .669],
    [.972, .981, .9751, .975], [.957, .978, .946, .970],
])  # fmt: skip
Q05 = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


def _ranks(scores):
    return np.array([stats.rankdata(-row) for row in scores])


def test_ranks_of_the_published_example():
    ranks = _ranks(DEMSAR)
    assert ranks.mean(0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    # published, without a correction for ties: chi2 = 9.28, F = 3.69, above the critical 2.85
    reference = stats.friedmanchisquare(*DEMSAR.T).statistic
    f = 13 * reference / (14 * 3 - reference)
    assert friedman(ranks) == pytest.approx(stats.f.sf(f, 3, 39), rel=1e-9)
    assert friedman(ranks) < 0.05
    assert nemenyi(4, 14) == pytest.approx(1.25, abs=5e-3)  # published: critical difference 1.25


@pytest.mark.parametrize(("k", "q"), Q05.items())
def test_nemenyis_quantiles_are_the_published_ones(k, q):
    assert studentized_range(k, 0.95) / np.sqrt(2) == pytest.approx(q, abs=1e-3)


def test_the_studentized_range_is_scipys():
    assert studentized_range(5, 0.9) == pytest.approx(stats.studentized_range.ppf(0.9, 5, np.inf), abs=1e-5)


def test_friedman_at_its_bounds():
    same = np.tile([1.0, 2.0, 3.0], (6, 1))
    assert friedman(same) == 0.0
    assert friedman(np.full((6, 3), 2.0)) == 1.0
    by_turns = np.array([[1.0, 2, 3], [2, 3, 1], [3, 1, 2]] * 2)
    assert friedman(by_turns) == pytest.approx(1.0)


def test_each_verdict_is_defined_in_the_documentation():
    text = (Path(__file__).resolve().parents[3] / "docs" / "reports.md").read_text(encoding="utf-8")
    cases = [(0.01, True), (0.01, False), (0.06, True), (None, True)]
    for word in (verdict(*case) for case in cases):
        assert f"| {word} | " in text
    assert [verdict(*case) for case in cases] == ["helps", "hurts", "no difference shown", "too few to tell"]
