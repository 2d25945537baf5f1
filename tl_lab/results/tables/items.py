"""Compare two ways of training on the same test items, by McNemar's test and a bootstrap interval of the difference.

This module does not import torch.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tl_lab.results.tables.label_budgets import Budget
from tl_lab.results.tables.statistics import CONFIDENCE, holm
from tl_lab.results.tables.summarising import independent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Items", "bootstrap_interval", "find_items", "mcnemar"]

_ANSWERS = "answers.csv"
_BASELINE = "strategy=from_scratch"
_RESAMPLES = 2000


@dataclass(frozen=True)
class Items:
    """Comparison of a way of training with training from scratch with the same labels, on the same test items.

    Args:
        budget: result of this way of training.
        n: number of items over all common seeds.
        gained: number of items that only this way classifies correctly.
        lost: number of items that only the baseline classifies correctly.
        low, high: ends of the bootstrap interval of the difference of accuracies.
        p: p-value of McNemar's exact test, Holm-corrected for the number of rows.
    """

    budget: Budget
    n: int
    gained: int
    lost: int
    low: float
    high: float
    p: float | None

    @property
    def difference(self) -> float:
        """Difference of the two accuracies, in [-1, 1]."""
        return (self.gained - self.lost) / self.n

    @property
    def verdict(self) -> str:
        """Whether this way ``helps`` or ``hurts`` on these items."""
        if self.p is None or self.p >= 1 - CONFIDENCE:
            return "no difference shown"
        return "helps" if self.gained > self.lost else "hurts"


def mcnemar(gained: int, lost: int) -> float:
    """Test whether two classifiers have the same error rate: exact binomial test on items that only one gets right.

    Args:
        gained: number of items that only the first gets right.
        lost: number of items that only the second gets right.

    References:
        Q. McNemar, "Note on the Sampling Error of the Difference Between Correlated Proportions", Psychometrika 1947.
    """
    from scipy.special import bdtr

    n = gained + lost
    return min(1.0, 2 * float(bdtr(min(gained, lost), n, 0.5))) if n else 1.0


def bootstrap_interval(differences: np.ndarray, confidence: float = CONFIDENCE, seed: int = 0) -> tuple[float, float]:
    """Return the bootstrap percentile interval of a mean over items.

    Args:
        differences: difference on each item, ``(N,)``.
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
        pairs = [
            (right, other[item])
            for seed, of_seed in answers.get(budget.setting, {}).items()
            if (other := answers.get(base.setting, {}).get(seed))
            for item, right in of_seed.items()
            if item in other
        ]
        if pairs:
            gained, lost = (sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))
            low, high = bootstrap_interval(np.array([a - b for a, b in pairs], dtype=float))
            found.append(Items(budget, len(pairs), gained, lost, low, high, mcnemar(gained, lost)))
    return [replace(one, p=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def _read(folder: Path) -> dict[tuple[str, str], int]:
    """Return whether each test item was classified correctly, by set and position; empty if nothing was saved."""
    try:
        with (folder / _ANSWERS).open(newline="") as file:
            return {(row["set"], row["index"]): int(row["right"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return {}
