"""Scores of backbones on the task that they were trained on first, before the runs of a sweep and after them.

This module does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_lab.results.tables.statistics import Difference, paired_t
from tl_lab.results.tables.summarising import independent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AFTER", "BEFORE", "Forgotten", "find_forgotten"]

BEFORE, AFTER = "base/before", "base/after"
"""Prefixes of a metric's name: the score on the base's own task, before the run and after it."""


@dataclass(frozen=True)
class Forgotten:
    """What a setting has made of the score on the base's own task, over seeds.

    Args:
        setting: of the runs.
        task: description of the measurement; empty if the runs do not agree on it.
        metric: its name without a prefix: ``acc``.
        before: its value of each seed before the run.
        after: likewise, after the run, in the same order.
    """

    setting: str
    task: str
    metric: str
    before: tuple[float, ...]
    after: tuple[float, ...]

    @property
    def change(self) -> Difference:
        """The mean change, seed by seed."""
        return paired_t(np.subtract(self.after, self.before))


def find_forgotten(runs: "pd.DataFrame") -> list[Forgotten]:
    """Compare the scores on the base's own task before and after the runs of each setting.

    Args:
        runs: as returned by :func:`tl_lab.results.tables.collecting.collect`.

    Returns:
        A row for each setting and metric of which completed runs have both scores, in the order of the settings.
    """
    tasks: Mapping[str, Any] = runs.attrs.get("base_tasks") or {}
    names = [str(name).removeprefix(f"{BEFORE}/") for name in runs if str(name).startswith(f"{BEFORE}/")]
    found = []
    for setting, of in independent(runs).groupby("setting", sort=False):
        for metric in names:
            columns = [f"{BEFORE}/{metric}", f"{AFTER}/{metric}"]
            both = of.dropna(subset=columns) if columns[1] in of else of[:0]
            if not len(both):
                continue
            task_names = {str(tasks.get(folder) or "") for folder in both["folder"]}
            before, after = (tuple(both[name].astype(float)) for name in columns)
            found.append(
                Forgotten(str(setting), task_names.pop() if len(task_names) == 1 else "", metric, before, after)
            )
    return found
