"""Find the best setting and those that are not significantly worse, and rank methods over data sets.

This module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tl_lab.results.names import less_is_better
from tl_lab.results.tables.collecting import OVERRIDE
from tl_lab.results.tables.reproduction import Crossed, swept_keys
from tl_lab.results.tables.statistics import CONFIDENCE, FEWEST_SEEDS, Difference, friedman, holm, nemenyi, paired_t
from tl_lab.results.tables.summarising import independent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FEWEST_TASKS", "Ranking", "Standing", "data_keys", "rank_methods", "standings"]

FEWEST_TASKS = 6
"""Smallest number of data sets for which ranks are tested."""
# data options that affect only training, and do not determine which data are used
_TRAINING = {
    "batch_size", "eval_batch_size", "batches_per_epoch", "workers", "augmentation", "evaluate",
    "train", "episodes_per_step", "episodes_per_epoch", "val_episodes",
}  # fmt: skip


class Standing(NamedTuple):
    """A setting compared with the best one on the same data.

    Attributes:
        word: ``best``, ``level`` (not significantly worse), ``worse``, or ``unknown`` (too few seeds).
        difference: difference from the best method, seed by seed; None for the best itself.
        p: p-value of the paired t-test, Holm-corrected for the comparisons with the same best setting; None if not
            tested.
    """

    word: str
    difference: Difference | None = None
    p: float | None = None


def data_keys(runs: "pd.DataFrame") -> list[str]:
    """List the swept keys that determine the data of a run: ``data``, ``data.pair``, ``experiment`` ...

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`.
    """
    keys = [key for key in swept_keys(runs) if key in ("data", "experiment") or key.startswith(("data.", "data@"))]
    return [key for key in keys if key.partition(".")[2].partition(".")[0] not in _TRAINING]


def standings(runs: "pd.DataFrame", metric: str) -> dict[str, Standing]:
    """Find the setting with the best mean, and compare the other settings on the same data with it over common seeds.

    The test is the paired t-test over seeds, with p-values corrected by Holm's procedure for the number of settings
    compared with the same best one. With fewer than three common seeds, nothing is tested, and a setting with fewer
    than three seeds is never the best. Oracles are excluded. Settings on different data (see :func:`data_keys`) are
    not compared.

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`.
        metric: the metric's name.

    Returns:
        The standing of each setting by its name; a setting without the metric, or without others on the same data, has
        no entry.
    """
    done = independent(runs)
    done = done[done[metric].notna() & done["seed"].notna() & (done["oracle"] != True)]  # noqa: E712 - may be None
    sign = -1.0 if less_is_better(metric) else 1.0
    columns = [OVERRIDE + key for key in data_keys(runs)]
    data = done[columns].astype(object).fillna("").agg("\0".join, axis=1) if columns and len(done) else ""
    found: dict[str, Standing] = {}
    for _, on_data in done.assign(_data=data).groupby("_data", sort=False):
        scores = on_data.pivot(index="seed", columns="setting", values=metric)
        settings = list(dict.fromkeys(on_data["setting"]))
        if len(settings) > 1:
            found |= _beside_best(settings, sign * scores[settings].to_numpy(dtype=float))
    return found


def _beside_best(settings: Sequence[str], scores: np.ndarray) -> dict[str, Standing]:
    """Compare the columns of scores ``(seeds, settings)``; larger is better, and NaN stands for a missing run."""
    means, counts = np.nanmean(scores, axis=0), np.isfinite(scores).sum(axis=0)
    enough = counts >= FEWEST_SEEDS
    if not enough.any():  # with one or two seeds, the best setting may be the best by chance
        return dict.fromkeys(settings, Standing("unknown"))
    best = int(np.where(enough, means, -np.inf).argmax())
    others = [j for j in range(len(settings)) if means[j] != means[best] or not enough[j]]
    differences = []
    for j in others:
        pairs = scores[:, j] - scores[:, best]
        differences.append(paired_t(pairs[np.isfinite(pairs)]))
    corrected = holm([each.p if each.n >= FEWEST_SEEDS else None for each in differences])
    found = {settings[j]: Standing("best") for j in range(len(settings)) if j not in others}
    for j, difference, p in zip(others, differences, corrected, strict=True):
        word = "unknown" if p is None else "level" if p >= 1 - CONFIDENCE or difference.mean >= 0 else "worse"
        found[settings[j]] = Standing(word, difference, p)
    return found


@dataclass(frozen=True)
class Ranking:
    """Methods sorted by their mean rank over data sets.

    Args:
        methods: names of the methods, best first.
        ranks: mean rank of each method; 1 is the best.
        tasks: number of data sets.
        p: p-value of Friedman's test, in the form of Iman and Davenport's F.
        critical: Nemenyi's critical difference: two methods differ significantly if their mean ranks differ by more.
    """

    methods: list[str]
    ranks: list[float]
    tasks: int
    p: float
    critical: float

    def alike(self) -> list[tuple[int, int]]:
        """Return the first and last of each maximal group of methods that do not differ significantly."""
        groups: list[tuple[int, int]] = []
        for first in range(len(self.ranks)):
            last = max(i for i, rank in enumerate(self.ranks) if rank - self.ranks[first] <= self.critical)
            if last > first and (not groups or last > groups[-1][1]):
                groups.append((first, last))
        return groups


def rank_methods(table: Crossed, metric: str) -> Ranking | None:
    """Rank methods on each data set by their mean over seeds; oracles are excluded.

    Args:
        table: methods by data sets.
        metric: the metric's name, which determines the direction.

    Returns:
        The mean ranks with Friedman's and Nemenyi's tests; None with fewer than six complete data sets or three
        methods.

    References:
        Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006).
    """
    import pandas as pd

    kept = [j for j, name in enumerate(table.methods) if name not in table.oracles]
    means = table.mean[:, kept]
    means = means[np.isfinite(means).all(axis=1)]
    n, k = means.shape
    if n < FEWEST_TASKS or k < 3:
        return None
    ranks = pd.DataFrame(means).rank(axis=1, ascending=less_is_better(metric)).to_numpy()
    mean_ranks = ranks.mean(axis=0)
    order = np.argsort(mean_ranks, kind="stable")
    methods = [table.methods[kept[j]] for j in order]
    return Ranking(methods, mean_ranks[order].tolist(), n, friedman(ranks), nemenyi(k, n))
