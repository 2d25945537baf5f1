"""Accuracy by number of labels and the verdict on transfer, against scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.results.tables.label_budgets import find_budgets, find_transfer
from tl_lab.results.tables.statistics import holm

SCRATCH = np.array([0.40, 0.44, 0.41, 0.46])
GAIN = {"100": np.array([0.20, 0.22, 0.19, 0.21]), "null": np.array([-0.05, -0.06, -0.04, -0.05])}


def runs(seeds=4):
    rows = []
    for labels, count in (("null", 1257), ("100", 100)):
        for strategy in ("from_scratch", "fine_tuning"):
            for seed in range(seeds):
                gain = GAIN[labels][seed] if strategy == "fine_tuning" else 0.0
                rows.append(
                    {
                        "setting": f"strategy={strategy} data.labels={labels}", "seed": seed, "status": "completed",
                        "written": "1", "oracle": False, "override.strategy": strategy, "override.data.labels": labels,
                        "train_samples": count, "duration_s": 2.0 + seed, "test/acc": SCRATCH[seed] + gain,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def test_each_way_is_summarised_by_the_number_of_labels():
    metric, budgets = find_budgets(runs())
    assert metric == "test/acc"
    assert [(each.way, each.labels, each.everything) for each in budgets] == [
        ("strategy=from_scratch", 100, False),
        ("strategy=from_scratch", 1257, True),
        ("strategy=fine_tuning", 100, False),
        ("strategy=fine_tuning", 1257, True),
    ]
    assert budgets[0].mean == pytest.approx(SCRATCH.mean())
    assert budgets[0].half == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(SCRATCH))
    assert budgets[0].seconds == 3.5


def test_transfer_helps_with_few_labels_and_hurts_with_many():
    frame = runs()
    few, all_labels = find_transfer(frame, *find_budgets(frame))
    assert (few.verdict, all_labels.verdict) == ("helps", "hurts")
    p = [stats.ttest_1samp(GAIN[labels], 0).pvalue for labels in ("100", "null")]
    assert [few.p, all_labels.p] == pytest.approx(holm(p), rel=1e-6)
    assert few.mean == pytest.approx(0.205)
    assert all_labels.half == pytest.approx(stats.t.ppf(0.975, 3) * stats.sem(GAIN["null"]))


def test_where_another_sweep_leaves_the_number_out_it_has_all_labels():
    frame = runs()
    frame.loc[frame["override.data.labels"] == "null", "override.data.labels"] = None  # of a sweep without the option
    metric, budgets = find_budgets(frame)
    assert [(each.labels, each.everything) for each in budgets] == [(100, False), (1257, True)] * 2
    few, all_labels = find_transfer(frame, metric, budgets)
    assert (few.verdict, all_labels.verdict) == ("helps", "hurts")


def test_two_seeds_are_too_few_to_tell():
    frame = runs(seeds=2)
    assert {each.verdict for each in find_transfer(frame, *find_budgets(frame))} == {"too few to tell"}


def test_without_budgets_there_is_nothing_to_say():
    frame = runs()
    assert find_budgets(frame[frame["override.data.labels"] == "100"]) is None
