"""Comparisons item by item, against scipy and by hand."""

import csv

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.results.tables.items import bootstrap_interval, find_items, mcnemar
from tl_lab.results.tables.label_budgets import find_budgets


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (1, 9), (12, 3), (40, 20)])
def test_mcnemar_is_the_exact_binomial_test(gained, lost):
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected)
    assert mcnemar(lost, gained) == pytest.approx(expected)


def test_the_bootstrap_interval_is_about_that_of_a_mean():
    values = np.array([1.0] * 60 + [0.0] * 320 + [-1.0] * 20)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.006)
    assert high == pytest.approx(values.mean() + half, abs=0.006)
    assert bootstrap_interval(values) == (low, high)


def test_runs_are_compared_on_the_items_that_both_have(tmp_path):
    rows = []
    right = {"from_scratch": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "fine_tuning": [0, 1] + [1] * 10}
    for strategy, answers in right.items():
        for seed in (0, 1):
            folder = tmp_path / f"{strategy}{seed}"
            folder.mkdir()
            with (folder / "answers.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["set", "index", "right"])
                table.writerows(["test", i, one] for i, one in enumerate(answers))
            rows.append(
                {
                    "setting": f"strategy={strategy}", "seed": seed, "status": "completed", "written": "1",
                    "oracle": False, "override.strategy": strategy, "override.data.labels": "50", "duration_s": 1.0,
                    "train_samples": 50, "test/acc": float(np.mean(answers)), "folder": folder.name,
                }
            )  # fmt: skip
    rows.append({**rows[0], "override.data.labels": "100", "setting": "other", "train_samples": 100, "folder": "none"})
    frame = pd.DataFrame(rows)
    frame.attrs["root"] = str(tmp_path)
    _, budgets = find_budgets(frame)
    (found,) = find_items(frame, budgets)
    assert (found.budget.way, found.n, found.gained, found.lost) == ("strategy=fine_tuning", 24, 20, 2)
    assert found.difference == pytest.approx(18 / 24)
    assert found.p == pytest.approx(stats.binomtest(2, 22).pvalue)
    assert found.verdict == "helps"
