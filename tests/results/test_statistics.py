"""Intervals and corrections against scipy and numbers worked by hand."""

import numpy as np
import pytest
from scipy import stats

from tl_lab.results.statistics import half_width, holm, t_quantile


def test_a_half_width_is_that_of_students_t():
    values = [0.70, 0.74, 0.72, 0.79]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-12)
    assert half_width(values, 0.9) == pytest.approx(stats.t.ppf(0.95, 3) * stats.sem(values), rel=1e-12)


def test_one_value_has_no_interval():
    assert np.isnan(half_width([0.7]))
    assert np.isnan(t_quantile([0, 1])).all()


def test_holm_steps_down_from_the_smallest():
    # .01 x 4; .02 x 3; .03 x 2, raised to the one before where that is larger; the last x 1
    assert holm([0.03, None, 0.01, 0.04, 0.02]) == pytest.approx([0.06, None, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
