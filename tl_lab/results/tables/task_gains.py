"""Each task of a joint training compared with its own single-task run: the result of a sweep over sets.

This module does not import torch.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tl_lab.results.names import leading_metric, split_name
from tl_lab.results.tables.collecting import OVERRIDE
from tl_lab.results.tables.reproduction import swept_keys
from tl_lab.results.tables.statistics import CONFIDENCE, FEWEST_SEEDS, NO_PAIR, holm, paired_t
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
"""Options without effect for a single task."""


@dataclass(frozen=True)
class Gain:
    """A task trained jointly with others, against the same task alone, over common seeds.

    Args:
        setting: setting of the runs with several tasks.
        task: its name.
        metric: its validation-selected metric: ``test/rte/acc``.
        n: number of common seeds.
        together: mean of the metric over these, trained jointly.
        alone: likewise, trained alone.
        difference: mean of the differences, seed by seed.
        half: half-width of its paired interval; NaN below three seeds.
        p: p-value of the paired t-test, corrected by Holm for the number of rows; None below three seeds.
        both: the differences of two seeds; otherwise NaN.
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
        if self.p is None:
            return "too few to tell"
        if self.p >= 1 - CONFIDENCE:
            return "no difference shown"
        return "helps" if self.difference > 0 else "hurts"


def find_gains(runs: "pd.DataFrame") -> list[Gain]:
    """Compare each task with its single-task runs, which have the same settings except those of several tasks.

    Args:
        runs: as returned by :func:`tl_lab.results.tables.collecting.collect`.

    Returns:
        A row for each setting with several tasks and each of them that has a counterpart; none if the sets were not
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
            said = paired_t(together - other)
            means = float(together.mean()), float(other.mean())
            found.append(Gain(str(setting), task, name, said.n, *means, said.mean, said.half, said.p, said.both))
    corrected = holm([gain.p if gain.n >= FEWEST_SEEDS else None for gain in found])
    return [replace(gain, p=p) for gain, p in zip(found, corrected, strict=True)]


def _names(text: object) -> tuple[str, ...]:
    """Read the value of an override: ``[rte,mrpc]``."""
    return tuple(name.strip() for name in str(text).strip("[] ").split(",") if name.strip())
