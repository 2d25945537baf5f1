"""Summarise a sweep over ``data.labels``: the main metric by number of labels, and the gain from transfer.

This module does not import torch.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tl_lab.results.names import leads, less_is_better
from tl_lab.results.tables.collecting import OVERRIDE
from tl_lab.results.tables.reproduction import swept_keys
from tl_lab.results.tables.statistics import FEWEST_SEEDS, NO_PAIR, both_of, half_width, holm, verdict
from tl_lab.results.tables.summarising import headline, independent, paired_differences

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Budget", "Transfer", "find_budgets", "find_transfer"]

_LABELS = "data.labels"
_BASELINE = "strategy=from_scratch"


@dataclass(frozen=True)
class Budget:
    """Result of one way of training with one number of labels.

    Args:
        way: overrides of the runs without the number of labels, such as ``strategy=fine_tuning``.
        setting: setting of the runs.
        labels: number of labels in the training set.
        everything: whether these are all labels.
        n: number of seeds.
        mean: mean of the main test metric over seeds.
        half: half-width of its interval; NaN with fewer than three seeds.
        seconds: mean duration of a run, in seconds.
        both: the two values if there are two seeds; otherwise NaN.
    """

    way: str
    setting: str
    labels: int
    everything: bool
    n: int
    mean: float
    half: float
    seconds: float
    both: tuple[float, float] = NO_PAIR


@dataclass(frozen=True)
class Transfer:
    """Comparison of transfer with training from scratch with the same number of labels, over common seeds.

    Args:
        budget: result of the transfer method with this number of labels.
        n: number of common seeds.
        mean: mean difference of the main test metric.
        half: half-width of its paired interval; NaN with fewer than three seeds.
        p: p-value of the paired t-test, Holm-corrected for the number of rows; None with too few seeds.
        both: the two differences if there are two seeds; otherwise NaN.
        less_is_better: whether a negative difference means that transfer helps.
    """

    budget: Budget
    n: int
    mean: float
    half: float
    p: float | None
    both: tuple[float, float] = NO_PAIR
    less_is_better: bool = False

    @property
    def verdict(self) -> str:
        """Whether transfer ``helps`` or ``hurts``, or why that is unknown."""
        return verdict(self.p, self.mean < 0 if self.less_is_better else self.mean > 0)


def find_budgets(runs: "pd.DataFrame") -> tuple[str, list[Budget]] | None:
    """Summarise a sweep over the number of labels.

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`.

    Returns:
        The name of the main metric, and a row for each way of training and number of labels, in ascending order; None
        if the number of labels was not swept.
    """
    if _LABELS not in swept_keys(runs):
        return None
    metric = next((name for name in headline(runs) if leads(name)), None)
    done = independent(runs)
    if metric is None or not len(done):
        return None
    keys = [key for key in swept_keys(runs) if key != _LABELS]
    budgets = []
    for setting, of in done.dropna(subset=[metric, "train_samples"]).groupby("setting", sort=False):
        first = of.iloc[0]
        given = {key: first[OVERRIDE + key] for key in keys}
        way = " ".join(f"{key}={value}" for key, value in given.items() if value == value) or "as configured"
        scores = of[metric].to_numpy(dtype=float)
        labels = first[OVERRIDE + _LABELS]
        everything = labels in ("null", None) or labels != labels  # NaN if only other folders set it
        budgets.append(
            Budget(
                way, str(setting), round(of["train_samples"].mean()), everything,
                len(scores), float(scores.mean()), half_width(scores), float(of["duration_s"].mean()), both_of(scores),
            )
        )  # fmt: skip
    ways = list(dict.fromkeys(budget.way for budget in budgets))
    return metric, sorted(budgets, key=lambda budget: (ways.index(budget.way), budget.labels))


def find_transfer(runs: "pd.DataFrame", metric: str, budgets: list[Budget]) -> list[Transfer]:
    """Compare each way of transfer with training from scratch with the same number of labels.

    Args:
        runs: see :func:`find_budgets`.
        metric: name of the main metric.
        budgets: rows as returned by :func:`find_budgets`.

    Returns:
        A row for each setting that has a counterpart; none if ``strategy=from_scratch`` was not swept.
    """
    of_setting = {budget.setting: budget for budget in budgets}
    rows = [
        row for row in paired_differences(runs, metric, _BASELINE).to_dict("records") if row["setting"] in of_setting
    ]
    corrected = holm([row["p"] if row["n"] >= FEWEST_SEEDS else None for row in rows])
    found = [
        Transfer(
            of_setting[row["setting"]],
            row["n"],
            row["mean"],
            row["ci95"],
            p,
            (row["low"], row["high"]),
            less_is_better(metric),
        )
        for row, p in zip(rows, corrected, strict=True)
    ]
    places = list(of_setting)
    return sorted(found, key=lambda each: places.index(each.budget.setting))
