"""Verdicts on published numbers, against scipy's intervals and cases made by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from tl_lab.results.tables.verdicts import Verdict, decide, difference_half_width, seeds_to_decide


def around(mean: float, spread: float, n: int) -> np.ndarray:
    """Values with exactly this mean and standard deviation (ddof 1)."""
    values = np.linspace(-1, 1, n)
    return mean + spread * values / values.std(ddof=1)


@pytest.mark.parametrize(
    ("mean", "spread", "n", "word"),
    [
        (0.505, 0.005, 5, "yes"),  # .505 +- .0062 lies within .5 +- .02
        (0.515, 0.01, 5, "undecided"),  # .515 +- .0124: one end lies outside
        (0.56, 0.01, 5, "no, above"),
        (0.44, 0.01, 5, "no, below"),
        (0.53, 0.02, 5, "undecided"),  # .53 +- .0248: one end lies inside
        (0.5, 0.2, 5, "undecided"),  # the interval holds the whole tolerance
        (0.5, 0.0, 3, "yes"),
        (0.5, 0.0, 2, "undecided"),  # two seeds never decide
        (0.9, 0.0, 1, "undecided"),
    ],
)
def test_the_whole_interval_decides(mean: float, spread: float, n: int, word: str) -> None:
    values = around(mean, spread, n) if n > 1 else np.array([mean])
    verdict = decide(values, published=0.5, tolerance=0.02)
    assert verdict.word == word
    assert verdict.decided == (word != "undecided")


def test_the_interval_is_students() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.75])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert decide(values, 0.7, 0.02).half == pytest.approx((high - low) / 2, rel=1e-9)
    assert math.isnan(decide(values[:2], 0.7, 0.02).half)


def test_a_published_error_widens_it_by_welch_and_satterthwaite() -> None:
    # two samples by scipy, of which the second is so large that its error counts as known
    first, error, n = np.array([0.71, 0.74, 0.69, 0.75, 0.70]), 0.011, 1_000_000
    found = stats.ttest_ind(first, around(0.7, error * math.sqrt(n), n), equal_var=False).confidence_interval(0.95)
    half = (found.high - found.low) / 2
    assert difference_half_width(first.std(ddof=1), 5, error) == pytest.approx(half, rel=1e-5)
    assert difference_half_width(0.0, 5, error) == pytest.approx(stats.norm.ppf(0.975) * error, rel=1e-12)


def test_the_seeds_that_are_missing_are_the_fewest_that_would_decide() -> None:
    values = around(0.51, 0.02, 4)
    verdict = decide(values, 0.5, 0.02)
    assert verdict.word == "undecided"
    total = 4 + verdict.more_seeds
    margin = 0.02 - 0.01
    halves = [stats.t.ppf(0.975, n - 1) * 0.02 / math.sqrt(n) for n in (total - 1, total)]
    assert halves[1] < margin <= halves[0]
    assert decide(values[:1], 0.5, 0.02).more_seeds == 2
    assert decide(values[:2], 0.5, 0.02).more_seeds == 1


@pytest.mark.parametrize("n", [3, 4, 9])
def test_one_more_seed_is_enough_if_its_interval_is_narrow_enough(n: int) -> None:
    now, next_one = (stats.t.ppf(0.975, count - 1) / math.sqrt(count) for count in (n, n + 1))
    assert seeds_to_decide(1.0, n, (now + next_one) / 2) == 1
    assert seeds_to_decide(1.0, n, 0.999 * next_one) == 2


def test_where_no_number_of_seeds_would_decide_none_is_given() -> None:
    assert decide(around(0.52, 0.01, 5), 0.5, 0.02).more_seeds is None  # the mean lies on the edge
    verdict = decide(around(0.5, 0.001, 5), 0.5, 0.02, error=0.02)  # the paper's own interval is wider
    assert verdict == Verdict("undecided", verdict.half, None)
    assert verdict.text == "undecided"


def test_what_tables_say() -> None:
    assert Verdict("undecided", 0.1, 1).text == "undecided: 1 more seed"
    assert Verdict("undecided", 0.1, 4).text == "undecided: 4 more seeds"
    assert Verdict("no, above", 0.1).text == "no, above"


def test_intervals_that_decide_are_right_as_often_as_they_say() -> None:
    """Of a true mean just outside the tolerance, at most half of the 5 % are called reproduced."""
    draw = np.random.default_rng(0)
    seeds = draw.normal(0.5201, 0.01, size=(1500, 5))
    wrong = np.mean([decide(row, 0.5, 0.02).word == "yes" for row in seeds])
    assert wrong <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1500)
