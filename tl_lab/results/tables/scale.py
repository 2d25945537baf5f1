"""Scores by model size: the same prompts for models of different sizes, compared with chance.

This module does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tl_lab.results.tables.collecting import OVERRIDE
from tl_lab.results.tables.reproduction import swept_keys
from tl_lab.results.tables.summarising import independent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OfSize", "find_scale"]

_MODEL = ("backbone", "strategy.language_model", "init_from")


@dataclass(frozen=True)
class OfSize:
    """The score of a model with the same prompts as other models.

    Args:
        way: the overrides that do not select the model (those of data and prompts).
        model: the overrides that select the model.
        parameters: number of parameters of the model.
        n: number of runs, one per seed.
        acc: mean accuracy over the runs.
        low, high: means of the ends of the runs' 95 % intervals over the test items.
        chance: mean accuracy of always predicting the most frequent class.
    """

    way: str
    model: str
    parameters: int
    n: int
    acc: float
    low: float
    high: float
    chance: float

    @property
    def verdict(self) -> str:
        """``absent at this scale`` if the interval includes chance, otherwise whether the score is above or below."""
        if self.low <= self.chance <= self.high:
            return "absent at this scale"
        return "above chance" if self.acc > self.chance else "below chance"


def find_scale(runs: "pd.DataFrame") -> list[OfSize]:
    """Collect the scores of runs by the size of their models (``scale`` in their results).

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`, with ``attrs["scales"]``.

    Returns:
        A row for each model and way, smallest model first; empty if no two models of different sizes have the same way.
    """
    keys = swept_keys(runs)
    of_model = [key for key in keys if key.split(".")[0] in _MODEL or key in _MODEL]
    if not of_model:
        return []
    groups: dict[tuple[str, str], list[dict[str, float]]] = {}
    for run in independent(runs).to_dict("records"):
        if (score := runs.attrs["scales"].get(run["folder"])) is not None:
            way = _named(run, [key for key in keys if key not in of_model])
            groups.setdefault((way, _named(run, of_model)), []).append(score)
    found = [_row(way, model, each) for (way, model), each in groups.items()]
    sizes = {way: len({row.parameters for row in found if row.way == way}) for way, _ in groups}
    kept = [row for row in found if sizes[row.way] > 1]
    return sorted(kept, key=lambda row: (list(sizes).index(row.way), row.parameters))


def _named(run: Mapping[Any, Any], keys: list[str]) -> str:
    given = [(key, run.get(OVERRIDE + key)) for key in keys]
    return " ".join(f"{key}={value}" for key, value in given if value is not None and value == value)


def _row(way: str, model: str, each: list[dict[str, float]]) -> OfSize:
    acc, low, high, chance = (sum(one[name] for one in each) / len(each) for name in ("acc", "low", "high", "chance"))
    return OfSize(way, model, int(each[0]["parameters"]), len(each), acc, low, high, chance)
