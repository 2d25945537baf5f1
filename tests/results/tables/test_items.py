"""Comparisons item by item, against scipy and by hand."""

import csv
import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tl_lab.results.tables.items import bootstrap_interval, find_items, sign_flip_test
from tl_lab.results.tables.label_budgets import find_budgets


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 5), (1, 9), (12, 3), (40, 20)])
def test_of_one_answer_to_each_item_it_is_mcnemars_exact_test(gained, lost):
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    differences = np.array([1] * gained + [0] * 30 + [-1] * lost)
    assert sign_flip_test(differences) == pytest.approx(expected)
    assert sign_flip_test(-differences) == pytest.approx(expected)


def test_of_several_answers_it_counts_all_signs():
    differences = np.array([3, -1, 2, 2, 0, 1, -2, 3])
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=len(differences))]
    assert sign_flip_test(differences) == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum())))
    # the same answers three times show no more than once
    once = np.array([1] * 9 + [-1] * 3 + [0] * 50)
    assert sign_flip_test(3 * once) == pytest.approx(sign_flip_test(once))


def test_it_rejects_at_its_level_if_seeds_repeat_an_items_answer():
    """200 draws of equal classifiers whose answers to an item are the same for each of three seeds."""
    draw = np.random.default_rng(0)
    p = [sign_flip_test(3 * draw.choice([-1, 0, 1], size=100, p=[0.1, 0.8, 0.1])) for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


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
    assert (found.budget.way, found.n, found.answers, found.gained, found.lost) == (
        "strategy=fine_tuning",
        12,
        24,
        20,
        2,
    )
    assert found.difference == pytest.approx(18 / 24)
    assert found.p == pytest.approx(stats.binomtest(1, 11).pvalue)  # both seeds give the same answers: one observation
    assert (found.low, found.high) == bootstrap_interval(np.array([-1.0] + [1.0] * 10 + [0.0]))
    assert found.verdict == "helps"
