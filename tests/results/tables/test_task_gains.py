"""Joint training compared with training of single tasks, against scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.results.names import leading_metric
from tl_lab.results.tables.statistics import holm
from tl_lab.results.tables.task_gains import find_gains

ALONE = {"rte": np.array([0.55, 0.58, 0.56, 0.57]), "stsb": np.array([0.60, 0.61, 0.64, 0.63])}
GAIN = {"rte": np.array([0.06, 0.05, 0.07, 0.06]), "stsb": np.array([-0.01, 0.02, -0.02, 0.01])}
METRIC = {"rte": "acc", "stsb": "r2"}


def runs(seeds=4):
    rows = []
    for seed in range(seeds):
        common = {"seed": seed, "status": "completed", "written": "1"}
        for task in ALONE:
            name = f"test/{task}/{METRIC[task]}"
            rows.append(
                common
                | {"setting": f"[{task}]", "override.data.datasets": f"[{task}]", name: ALONE[task][seed]}
                | {"override.strategy.weighting": "uniform"}
            )
        both = {f"test/{task}/{METRIC[task]}": ALONE[task][seed] + GAIN[task][seed] for task in ALONE}
        rows.append(
            common
            | {"setting": "[rte,stsb] pcgrad", "override.data.datasets": "[rte,stsb]", **both}
            | {"override.strategy.weighting": "pcgrad"}
        )
    return pd.DataFrame(rows)


def test_each_task_is_compared_with_itself_alone():
    rte, stsb = find_gains(runs())
    assert (rte.task, rte.metric, rte.n) == ("rte", "test/rte/acc", 4)
    assert rte.together - rte.alone == pytest.approx(rte.difference) == pytest.approx(0.06)
    assert rte.half == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(GAIN["rte"]))
    p = [stats.ttest_1samp(GAIN[task], 0).pvalue for task in ALONE]
    assert [rte.p, stsb.p] == pytest.approx(holm(p), rel=1e-6)
    assert (rte.verdict, stsb.verdict) == ("helps", "no difference shown")


def test_two_seeds_are_too_few_and_without_single_tasks_nothing_is_reported():
    few = find_gains(runs(2))
    assert {each.verdict for each in few} == {"too few to tell"}
    assert few[0].both == pytest.approx((0.05, 0.06))
    together = runs()[lambda frame: frame["override.data.datasets"] == "[rte,stsb]"]
    assert find_gains(together) == []
    assert find_gains(together.drop(columns="override.data.datasets")) == []


def test_the_mean_over_tasks_leads_the_tables():
    assert leading_metric(["test/rte/acc", "test/task_mean", "test/stsb/r2"]) == "task_mean"
