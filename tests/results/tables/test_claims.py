"""What an experiment expects of its own runs, against differences and intervals by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.errors import UserError
from tl_lab.results.tables.claims import Claim, judge
from tl_lab.results.tables.papers import Paper
from tl_lab.results.tables.reproduction import Reproduces

METRIC = "test/acc"
GAINS = {"a": [0.02, 0.03, 0.04], "b": [0.06, 0.05, 0.10]}


def _runs(metric: str = METRIC) -> pd.DataFrame:
    rows = [
        {"override.strategy": strategy, "override.data": data, "seed": seed, metric: 0.5 + seed / 10 + better * gain}
        for data, gains in GAINS.items()
        for seed, gain in enumerate(gains)
        for better, strategy in enumerate(("from_scratch", "fine_tuning"))
    ]
    return pd.DataFrame(rows).sample(frac=1.0, random_state=0)  # in any order


def _claim(by: float = 0.0, over: str = "seed", **more: str) -> Claim:
    return Claim("it transfers", {"strategy": "fine_tuning", **more}, {"strategy": "from_scratch", **more}, by, over)


def test_differences_are_paired_and_the_interval_is_students() -> None:
    by_seed = np.mean([*GAINS.values()], axis=0)
    found = judge(_runs(), _claim(), METRIC)
    np.testing.assert_allclose(found.differences, by_seed, atol=1e-12)
    assert found.half == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(by_seed))
    of_tasks = judge(_runs(), _claim(over="data"), METRIC)
    np.testing.assert_allclose(of_tasks.differences, [0.03, 0.07], atol=1e-12)
    assert np.isnan(of_tasks.half)
    assert of_tasks.word == "undecided"  # two values have no interval
    np.testing.assert_allclose(judge(_runs(), _claim(data="a"), METRIC).differences, GAINS["a"], atol=1e-12)


@pytest.mark.parametrize(("by", "word"), [(0.0, "yes"), (0.05, "undecided"), (0.2, "no"), (-0.01, "yes")])
def test_the_whole_interval_decides(by: float, word: str) -> None:
    assert judge(_runs(), _claim(by), METRIC).word == word  # .05 +- .045


def test_missing_seeds_are_the_fewest_whose_interval_excludes_the_bound() -> None:
    by_seed = np.mean([*GAINS.values()], axis=0)
    found, margin = judge(_runs(), _claim(0.03), METRIC).more_seeds, by_seed.mean() - 0.03
    assert found is not None
    halves = [stats.t.ppf(0.975, n - 1) * by_seed.std(ddof=1) / np.sqrt(n) for n in (3 + found - 1, 3 + found)]
    assert halves[1] < margin <= halves[0]
    assert judge(_runs().query("seed < 2"), _claim(0.03), METRIC).more_seeds == 1  # three make an interval
    assert judge(_runs(), _claim(), METRIC).more_seeds is None  # decided
    assert judge(_runs(), _claim(over="data"), METRIC).more_seeds is None  # seeds are not its unit


def test_of_errors_less_is_better() -> None:
    found = judge(_runs("test/mse"), _claim(), "test/mse")
    assert (found.differences < 0).all()
    assert found.word == "no"
    assert found.row("test/mse")[1].startswith("+")  # as it was measured


def test_what_was_not_run_says_so() -> None:
    assert judge(_runs(), _claim(data="c"), METRIC).word == "not run"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"says": "x", "better": {"strategy": "a"}}, "lacks worse"),
        ({"says": "x", "better": {}, "worse": {}, "bye": 1}, "no key 'bye'.*by"),
        ({"says": "x", "better": {"strategy": "a"}, "worse": {"data": "b"}}, "the same keys"),
        ({"says": "x", "better": {"strategie": "a"}, "worse": {"strategie": "b"}}, "not swept.*strategy"),
        (
            {"says": "x", "better": {"strategy": "a"}, "worse": {"strategy": "b"}, "over": "strategy"},
            "so the interval cannot be over",
        ),
    ],
)
def test_a_wrong_claim_is_refused(entry: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Reproduces("none", METRIC, methods="strategy", claims=[entry])


def test_claims_are_the_status_where_nothing_is_published() -> None:
    def paper(*bounds: float) -> Paper:
        entries = [
            {"says": "x", "better": {"strategy": "fine_tuning"}, "worse": {"strategy": "from_scratch"}, "by": by}
            for by in bounds
        ]
        expected = Reproduces("none", METRIC, methods="strategy", tasks="data", claims=entries)
        return Paper("some/thing", "", expected, _runs(), frozenset())

    assert (paper(0.0).status, paper(0.0).reached) == ("as expected", "1 of 1 claims")
    assert (paper(0.0, 0.05).status, paper(0.0, 0.05).reached) == ("undecided", "1 of 2 claims")
    assert paper(0.0, 0.2).status == "not as expected"
    assert paper(0.05).more_seeds is None
