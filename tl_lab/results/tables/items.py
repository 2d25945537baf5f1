"""Two ways of learning compared test item by test item: McNemar's test and a bootstrap of the difference.

Nothing here imports torch.
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
    """A way of learning against learning from scratch with the same labels, on the same test items.

    Args:
        budget: of the way.
        n: items of the common seeds together.
        gained: that the way alone gets right.
        lost: that the baseline alone gets right.
        low, high: ends of the bootstrap interval of the difference of accuracies.
        p: of McNemar's exact test, corrected by Holm for the number of rows.
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
        """Of the accuracies."""
        return (self.gained - self.lost) / self.n

    @property
    def verdict(self) -> str:
        """Whether the way ``helps`` or ``hurts`` on these items."""
        if self.p is None or self.p >= 1 - CONFIDENCE:
            return "no difference shown"
        return "helps" if self.gained > self.lost else "hurts"


def mcnemar(gained: int, lost: int) -> float:
    """Test whether two classifiers err alike: the exact two-sided binomial test of the items that only one gets right.

    Args:
        gained: that the first alone gets right.
        lost: that the second alone gets right.

    References:
        Q. McNemar, "Note on the Sampling Error of the Difference Between Correlated Proportions", Psychometrika 1947.
    """
    from scipy.special import bdtr

    n = gained + lost
    return min(1.0, 2 * float(bdtr(min(gained, lost), n, 0.5))) if n else 1.0


def bootstrap_interval(differences: np.ndarray, confidence: float = CONFIDENCE, seed: int = 0) -> tuple[float, float]:
    """Give the percentile interval of a mean over items that are drawn again with replacement.

    Args:
        differences: of the items, ``(N,)``.
        confidence: what the interval covers, in (0, 1).
        seed: of the draws.
    """
    values, counts = np.unique(differences, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(differences), counts / len(differences), size=_RESAMPLES)
    low, high = np.quantile(draws @ values / len(differences), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def find_items(runs: "pd.DataFrame", budgets: Sequence[Budget]) -> list[Items]:
    """Compare each way with learning from scratch, over the items and seeds that both have answered.

    Args:
        runs: as :func:`tl_lab.results.tables.collecting.collect` gives them.
        budgets: as :func:`tl_lab.results.tables.label_budgets.find_budgets` gives them.

    Returns:
        A row for each way and number of labels whose runs have kept their answers.
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
    """Read a run's answers by set and position; none where it has kept none."""
    try:
        with (folder / _ANSWERS).open(newline="") as file:
            return {(row["set"], row["index"]): int(row["right"]) for row in csv.DictReader(file)}
    except (OSError, KeyError, ValueError):
        return {}
