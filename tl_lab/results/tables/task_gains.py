"""Compare each task of multi-task runs with single-task runs of the same sweep.

This module does not import torch.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tl_lab.results.names import leading_metric, split_name
from tl_lab.results.tables.collecting import OVERRIDE
from tl_lab.results.tables.reproduction import swept_keys
from tl_lab.results.tables.statistics import FEWEST_SEEDS, NO_PAIR, holm, paired_t, verdict
from tl_lab.results.tables.summarising import independent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Gain", "find_gains"]

_SETS = f"{OVERRIDE}data.datasets"
_TOGETHER: tuple[str, ...] = (
    "data.datasets",
    "data.sampling",
    "data.temperature",
    "strategy.weighting",
    "strategy.dwa_temperature",
)
_TOGETHER += ("strategy.gradnorm_alpha", "strategy.cagrad_c", "strategy.weights_lr", "strategy.cosines_every")
"""Options that have no effect with a single task."""


@dataclass(frozen=True)
class Gain:
    """Comparison of a task trained jointly with others with the same task trained alone, over common seeds.

    Args:
        setting: setting of the runs with several tasks.
        task: name of the task.
        metric: main test metric of the task, such as ``test/rte/acc``.
        n: number of common seeds.
        together: mean of the metric if trained jointly.
        alone: mean of the metric if trained alone.
        difference: mean of the differences, seed by seed.
        half: half-width of the paired interval of the difference; NaN with fewer than three seeds.
        p: p-value of the paired t-test, Holm-corrected for the number of rows; None with fewer than three seeds.
        both: the two differences if there are two seeds; otherwise NaN.
    """

    setting: str
    task: str
    metric: str
    n: int
    together: float
    alone: float
    difference: float
    half: float
    p: float | None
    both: tuple[float, float] = NO_PAIR

    @property
    def verdict(self) -> str:
        """Whether joint training ``helps`` or ``hurts``, or why that is unknown."""
        return verdict(self.p, self.difference > 0)


def find_gains(runs: "pd.DataFrame") -> list[Gain]:
    """Compare each task with its single-task runs, which have the same settings except those that need several tasks.

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`.

    Returns:
        A row for each task of each setting with several tasks, if it has a counterpart; empty if the sets were not
        swept.
    """
    if _SETS not in runs or "data.datasets" not in swept_keys(runs):
        return []
    done = independent(runs)
    keys = [OVERRIDE + key for key in swept_keys(runs) if key not in _TOGETHER]
    done = done.assign(
        names=[_names(text) for text in done[_SETS]],
        rest=done[keys].fillna("").astype(str).agg("\0".join, axis=1) if keys else "",
    )
    several, single = done[done["names"].map(len) > 1], done[done["names"].map(len) == 1]
    found = []
    for setting, of in several.groupby("setting", sort=False):
        for task in of["names"].iloc[0]:
            of_task = [name for name in runs if split_name(str(name))[:2] == ("test", task)]
            metric = leading_metric(map(str, of_task))
            alone = single[single["names"].map(lambda names, task=task: names == (task,))]
            name = f"test/{task}/{metric}"
            if metric is None or name not in done:
                continue
            base = alone.sort_values("written", kind="stable").drop_duplicates(["rest", "seed"], keep="last")
            pairs = of.merge(base, on=["rest", "seed"], suffixes=("", " alone")).dropna(subset=[name, f"{name} alone"])
            if not len(pairs):
                continue
            together, other = (pairs[column].to_numpy(dtype=float) for column in (name, f"{name} alone"))
            paired = paired_t(together - other)
            means = float(together.mean()), float(other.mean())
            found.append(
                Gain(str(setting), task, name, paired.n, *means, paired.mean, paired.half, paired.p, paired.both)
            )
    corrected = holm([gain.p if gain.n >= FEWEST_SEEDS else None for gain in found])
    return [replace(gain, p=p) for gain, p in zip(found, corrected, strict=True)]


def _names(text: object) -> tuple[str, ...]:
    """Read the names in the value of an override, such as ``[rte,mrpc]``."""
    return tuple(name.strip() for name in str(text).strip("[] ").split(",") if name.strip())
