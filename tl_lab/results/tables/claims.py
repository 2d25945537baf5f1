"""Claims of an experiment about its own runs: that one setting is better than another, or hardly worse.

This module does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_lab.errors import UserError, nearest
from tl_lab.results.names import format_difference, less_is_better
from tl_lab.results.tables.statistics import FEWEST_SEEDS, both_of, half_width
from tl_lab.results.tables.verdicts import seeds_to_decide

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Claim", "Judged", "judge"]


@dataclass(frozen=True)
class Claim:
    """A claim: one entry of the list ``reproduces.claims``.

    Args:
        says: the claim in words.
        better: values of swept keys that select the runs expected to be better.
        worse: values of the same keys that select the runs to compare them with.
        by: smallest difference for which the claim holds, in the metric's unit; negative for "hardly worse".
        over: unit over which the interval is computed: ``seed``, or a swept key, whose values then each contribute
            their mean over seeds.

    Raises:
        UserError: nothing is compared, or the keys of both sides differ.
    """

    says: str
    better: Mapping[str, Any]
    worse: Mapping[str, Any]
    by: float = 0.0
    over: str = "seed"

    def __post_init__(self) -> None:
        if not self.better or {*self.better} != {*self.worse}:
            raise UserError(
                f"reproduces.claims: {self.says!r} must compare values of the same keys, not {sorted(self.better)} "
                f"with {sorted(self.worse)}"
            )
        if self.over in self.better:
            raise UserError(
                f"reproduces.claims: {self.says!r} compares values of {self.over}, so the interval cannot be over "
                f"{self.over}"
            )

    @classmethod
    def from_node(cls, node: Mapping[str, Any]) -> "Claim":
        """Read an entry of the list.

        Raises:
            UserError: a key is unknown or missing.
        """
        names = [each.name for each in fields(cls)]
        for key in node:
            if key not in names:
                raise UserError(f"reproduces.claims: an entry has no key {key!r}; {nearest(str(key), names)}")
        for key in ("says", "better", "worse"):
            if key not in node:
                raise UserError(f"reproduces.claims: an entry lacks {key}")
        return cls(**node)


@dataclass(frozen=True)
class Judged:
    """The result of a claim.

    Args:
        claim: the claim.
        differences: better minus worse, one per seed (or value of ``over``); positive in favour of the claim.
        half: half-width of the mean's 95 % Student t interval; NaN with fewer than three differences.
    """

    claim: Claim
    differences: np.ndarray
    half: float

    @property
    def mean(self) -> float:
        """Mean difference; NaN without runs."""
        return float(self.differences.mean()) if len(self.differences) else float("nan")

    @property
    def word(self) -> str:
        """``yes`` or ``no`` if the whole interval is on one side of the claim's bound, otherwise ``undecided``."""
        if not len(self.differences):
            return "not run"
        if self.mean - self.half > self.claim.by:
            return "yes"
        return "no" if self.mean + self.half < self.claim.by else "undecided"

    @property
    def more_seeds(self) -> int | None:
        """Expected number of further seeds that decide the claim; None if it is unknown, or if it is decided."""
        if self.word != "undecided" or self.claim.over != "seed":
            return None
        n = len(self.differences)
        if n < FEWEST_SEEDS:
            return FEWEST_SEEDS - n
        return seeds_to_decide(float(self.differences.std(ddof=1)), n, abs(self.mean - self.claim.by))

    def row(self, metric: str) -> list[str]:
        """Format the claim, its difference, the number of values and the verdict as text."""
        sign = -1.0 if less_is_better(metric) else 1.0
        shown = format_difference(metric, sign * self.mean, self.half, both_of(sign * self.differences))
        bound = "" if not self.claim.by else f" (bound {format_difference(metric, sign * self.claim.by)})"
        unit = "seeds" if self.claim.over == "seed" else f"values of `{self.claim.over}`"
        return [self.claim.says + bound, shown, f"{len(self.differences)} {unit}", self.word]


def judge(runs: "pd.DataFrame", claim: Claim, metric: str) -> Judged:
    """Compare pairs of runs that differ only in the keys of the claim.

    Args:
        runs: completed runs, with columns ``seed``, the metric, and ``override.<key>`` of each swept key, as text.
        claim: the claim.
        metric: the metric's name, which determines the direction.
    """
    named = [f"override.{key}" for key in claim.better]
    rest = ["seed", *(name for name in runs if name.startswith("override.") and name not in (*named, "override.seed"))]
    better, worse = (_selected(runs, side)[[*rest, metric]] for side in (claim.better, claim.worse))
    pairs = better.merge(worse, on=rest, suffixes=("_better", "_worse"))
    sign = -1.0 if less_is_better(metric) else 1.0
    pairs["_difference"] = sign * (pairs[f"{metric}_better"] - pairs[f"{metric}_worse"])
    unit = "seed" if claim.over == "seed" else f"override.{claim.over}"
    differences = pairs.groupby(unit)["_difference"].mean().to_numpy(dtype=float)
    return Judged(claim, differences, half_width(differences))


def _selected(runs: "pd.DataFrame", values: Mapping[str, Any]) -> "pd.DataFrame":
    """Select the runs with these values; a list permits several values of a key."""
    kept = runs
    for key, value in values.items():
        wanted = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        kept = kept[kept[f"override.{key}"].astype(str).isin(wanted)]
    return kept
