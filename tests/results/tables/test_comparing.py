"""Best settings and those not significantly worse, against scipy; ranks over data sets."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.results.report.blocks import Cell
from tl_lab.results.report.sections_of_tasks import crossed_parts
from tl_lab.results.tables.comparing import data_keys, rank_methods, standings
from tl_lab.results.tables.reproduction import Crossed

METRIC = "test/acc"
BASE = np.array([0.70, 0.74, 0.72, 0.79, 0.75])
SHIFTS = {
    "a": np.zeros(5),
    "b": np.array([-0.02, 0.01, -0.01, 0.00, -0.01]),
    "c": np.array([-0.10, -0.09, -0.11, -0.10, -0.08]),
}


def frame(shifts, data=("x",), oracle=()):
    rows = [
        {
            "setting": f"strategy={name} data={where}", "seed": seed, "status": "completed", "written": "1",
            "oracle": name in oracle, "override.strategy": name, "override.data": where, METRIC: base + shift,
        }
        for where in data
        for name, of in shifts.items()
        for seed, (base, shift) in enumerate(zip(BASE, of, strict=False))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_others_are_tested_against_the_best():
    found = standings(frame(SHIFTS), METRIC)
    best, level, worse = (found[f"strategy={name} data=x"] for name in "abc")
    assert (best.word, level.word, worse.word) == ("best", "level", "worse")
    p = [stats.ttest_rel(BASE + SHIFTS[name], BASE).pvalue for name in "bc"]
    assert worse.p == pytest.approx(2 * p[1], rel=1e-6)  # the smaller of two
    assert level.p == pytest.approx(p[0], rel=1e-6)
    assert level.difference.n == 5
    assert level.difference.mean == pytest.approx(SHIFTS["b"].mean())


def test_only_common_seeds_count_and_two_are_too_few():
    few = frame({**SHIFTS, "c": SHIFTS["c"][:2]})
    assert standings(few, METRIC)["strategy=c data=x"].word == "unknown"
    assert standings(few, METRIC)["strategy=c data=x"].p is None
    # the correction counts the tests that were made
    alone = stats.ttest_rel(BASE + SHIFTS["b"], BASE).pvalue
    assert standings(few, METRIC)["strategy=b data=x"].p == pytest.approx(alone, rel=1e-6)


def test_settings_on_different_data_are_not_compared():
    runs = frame(SHIFTS, data=("x", "y"))
    assert data_keys(runs) == ["data"]
    found = standings(runs, METRIC)
    assert [found[f"strategy=a data={where}"].word for where in "xy"] == ["best", "best"]
    for key in ("data.batch_size", "data.train.shot", "data.episodes_per_step"):
        assert data_keys(runs.rename(columns={"override.data": f"override.{key}"})) == []
    assert data_keys(runs.rename(columns={"override.data": "override.data.test.shot"})) == ["data.test.shot"]


def test_oracles_take_no_part_and_losses_are_better_small():
    assert standings(frame(SHIFTS, oracle=("a",)), METRIC)["strategy=b data=x"].word == "best"
    losses = frame(SHIFTS).rename(columns={METRIC: "test/loss"})
    assert standings(losses, "test/loss")["strategy=c data=x"].word == "best"


def test_a_single_lucky_run_is_not_the_best():
    runs = frame({**SHIFTS, "lucky": np.array([0.9])})
    found = standings(runs, METRIC)
    assert found["strategy=lucky data=x"].word == "unknown"
    assert found["strategy=a data=x"].word == "best"
    singles = standings(frame({name: values[:2] for name, values in SHIFTS.items()}), METRIC)
    assert {standing.word for standing in singles.values()} == {"unknown"}


def test_one_setting_is_not_the_best_of_anything():
    assert standings(frame({"a": SHIFTS["a"]}), METRIC) == {}


def _crossed(mean, methods, oracles=()):
    tasks = [f"t{i}" for i in range(len(mean))]
    blank = np.full(mean.shape, np.nan)
    return Crossed(methods, tasks, np.full(mean.shape, 3), mean, blank, mean.mean(0), blank[0], frozenset(oracles))


def test_ranks_over_data_sets():
    mean = np.array([[0.5, 0.6, 0.7]] * 4 + [[0.5, 0.7, 0.6]] * 2)
    found = rank_methods(_crossed(mean, ["none", "dann", "mmd"]), METRIC)
    assert found.methods == ["mmd", "dann", "none"]
    assert found.ranks == pytest.approx([8 / 6, 10 / 6, 3.0])
    assert found.tasks == 6
    assert found.critical == pytest.approx(2.343 * np.sqrt(3 * 4 / 36), abs=1e-3)  # 1.353
    assert found.alike() == [(0, 1), (1, 2)]  # 2.343 * .577: 1 to 3 differ, neighbours do not


def test_ranks_need_six_data_sets_and_three_methods():
    mean = np.array([[0.5, 0.6, 0.7]] * 6)
    assert rank_methods(_crossed(mean[:5], ["none", "dann", "mmd"]), METRIC) is None
    assert rank_methods(_crossed(mean, ["none", "dann", "target_only"], ["target_only"]), METRIC) is None
    mean[0, 1] = np.nan
    assert rank_methods(_crossed(mean, ["none", "dann", "mmd"]), METRIC) is None


def test_the_best_of_each_row_is_marked_and_no_oracle():
    nan = float("nan")
    mean = np.array([[0.5, 0.7, 0.9], [0.8, 0.8, 0.9], [0.6, nan, 0.9], [nan, nan, 0.9]])
    table = _crossed(mean, ["none", "dann", "target_only"], ["target_only"])
    first, *_ = crossed_parts((table, METRIC, "data"), None)
    marked = [[j for j, cell in enumerate(row) if getattr(cell, "mark", "") == "best"] for row in first.parts[0].rows]
    assert marked == [[2], [1, 2], [1], [], []]  # the last: no method has a mean over all
    table.seeds[0, 0] = 2  # a mean of two seeds is no best one, and none is the best beside it
    assert not any(isinstance(cell, Cell) for cell in crossed_parts((table, METRIC, "data"), None)[0].parts[0].rows[0])
    table.seeds[0, 0] = 3
    less = crossed_parts((table, "test/target/loss", "data"), None)[0].parts[0].rows
    assert [getattr(cell, "mark", "") for cell in less[0]] == ["", "best", "", ""]


def test_a_mean_over_tasks_is_the_best_where_every_task_has_the_seeds():
    table = _crossed(np.array([[0.5, 0.7], [0.6, 0.8]]), ["none", "dann"])

    def marks():
        rows = crossed_parts((table, METRIC, "data"), None)[0].parts[0].rows
        return [[j for j, cell in enumerate(row) if getattr(cell, "mark", "") == "best"] for row in rows]

    assert marks() == [[2], [2], [2]]
    table.seeds[0, 1] = 2
    assert marks() == [[], [2], []]
