"""Comparison of two ways of training on the same test items: an exact test and a bootstrap of the difference.

Runs with several seeds answer the same items again. Their answers are not independent, so an item counts once: with the
sum of its differences over seeds.

This module does not import torch.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tl_lab.results.tables.label_budgets import Budget
from tl_lab.results.tables.statistics import CONFIDENCE, holm, verdict
from tl_lab.results.tables.summarising import independent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Items", "bootstrap_interval", "find_items", "sign_flip_test"]

_ANSWERS = "answers.csv"
_BASELINE = "strategy=from_scratch"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Items:
    """Comparison of a way of training with training from scratch with the same labels, on the same test items.

    Args:
        budget: of the way of training.
        n: number of items.
        answers: number of answers to them over all common seeds.
        gained: answers that only this way gives correctly.
        lost: answers that only the baseline gives correctly.
        low, high: ends of the bootstrap interval, over items, of the difference of accuracies.
        p: of the exact test over items, corrected by Holm for the number of rows.
    """

    budget: Budget
    n: int
    answers: int
    gained: int
    lost: int
    low: float
    high: float
    p: float | None

    @property
    def difference(self) -> float:
        """Difference of the accuracies."""
        return (self.gained - self.lost) / self.answers

    @property
    def verdict(self) -> str:
        """Whether this way ``helps`` or ``hurts`` on these items."""
        return verdict(self.p, self.gained > self.lost)


def sign_flip_test(differences: np.ndarray) -> float:
    """Test whether two classifiers have the same error rate on the same items, with one answer or several to each.

    Under the hypothesis each item's difference is as likely as its negative. The two-sided p is the exact probability
    of a sum at least as far from 0 under random signs. With one answer to each item it is McNemar's exact test.

    Args:
        differences: for each item the number of answers that only the first classifier gives correctly less those that
            only the second gives, ``(N,)`` int.

    Returns:
        p in (0, 1]; 1 if no item differs.

    References:
        McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions, Psychometrika 1947.
        Durkalski et al., Analysis of Clustered Matched-Pair Data, Statistics in Medicine 2003, for several answers.

    Examples:
        >>> round(sign_flip_test(np.array([1, 1, 1, 1, 1, 0, 0])), 6)
        0.0625
    """
    from scipy.stats import binom

    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    probabilities = np.ones(1)  # of the sums -total, ..., total under random signs
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        of_size = np.zeros(2 * size * count + 1)
        of_size[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        probabilities = np.convolve(probabilities, of_size)
    distance = np.abs(np.arange(len(probabilities)) - len(probabilities) // 2)
    return min(1.0, float(probabilities[distance >= abs(int(differences.sum()))].sum()))


def bootstrap_interval(differences: np.ndarray, confidence: float = CONFIDENCE, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap percentile interval of a mean over items.

    Args:
        differences: mean difference of each item, ``(N,)``.
        confidence: level of the interval, in (0, 1).
        seed: seed of the bootstrap samples.

    Returns:
        The lower and the upper end.
    """
    values, counts = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(differences), counts / len(differences), size=_RESAMPLES)
    low, high = np.quantile(draws @ values / len(differences), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def find_items(runs: "pd.DataFrame", budgets: Sequence[Budget]) -> list[Items]:
    """Compare each way of transfer with training from scratch on common seeds and items.

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`.
        budgets: rows as returned by :func:`tl_lab.results.tables.label_budgets.find_budgets`.

    Returns:
        A row for each way and number of labels whose runs have saved their predictions.
    """
    done, root = independent(runs), Path(str(runs.attrs.get("root", ".")))
    answers = {
        setting: {seed: _read(root / str(folder)) for seed, folder in zip(of["seed"], of["folder"], strict=True)}
        for setting, of in done.groupby("setting", sort=False)
    }
    found = []
    for budget in budgets:
        base = next((one for one in budgets if one.labels == budget.labels and one.way == _BASELINE), None)
        if base is None or budget.way == _BASELINE:
            continue
        of_item: dict[tuple[str, str], list[int]] = {}
        for seed, of_seed in answers.get(budget.setting, {}).items():
            other = answers.get(base.setting, {}).get(seed) or {}
            for item in of_seed.keys() & other.keys():
                of_item.setdefault(item, []).append(of_seed[item] - other[item])
        if of_item:
            every = [one for own in of_item.values() for one in own]
            sums = np.array([sum(own) for own in of_item.values()])
            low, high = bootstrap_interval(sums * (len(sums) / len(every)))
            gained, lost = every.count(1), every.count(-1)
            p = sign_flip_test(sums)
            found.append(Items(budget, len(sums), len(every), gained, lost, low, high, p))
    return [replace(one, p=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def _read(folder: Path) -> dict[tuple[str, str], int]:
    """Return whether each test item was classified correctly, by set and position; empty if nothing was saved."""
    try:
        with (folder / _ANSWERS).open(newline="") as file:
            return {(row["set"], row["index"]): int(row["right"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return {}
