"""Hyper-parameter search with equal budgets: each method's best setting on validation data is run over seeds."""

import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from tl_lab.config import choices
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS

__all__ = ["Plan", "best_trial", "draw", "selection_note", "space_of"]


@dataclass(frozen=True)
class Plan:
    """The search requested on the command line.

    Attributes:
        fixed: overrides of every job.
        cells: overrides of each compared combination: a method, and a value of every other swept key except the seed.
        seeds: overrides of the reported seeds.
        ranges: search ranges of every method.
    """

    fixed: list[str]
    cells: list[list[str]]
    seeds: list[str]
    ranges: dict[str, Override]

    @classmethod
    def of(cls, arguments: Sequence[str], methods: str) -> "Plan":
        """Read the search from overrides.

        Raises:
            UserError: the methods are not swept.
        """
        parsed = OverridesParser.create().parse_overrides(list(arguments))
        fixed, seeds, ranges = list[str](), ["seed=0"], dict[str, Override]()
        axes: list[list[str]] = []
        for override in parsed:
            key = override.get_key_element()
            if not override.is_sweep_override():
                (seeds := [str(override.input_line)]) if key == "seed" else fixed.append(str(override.input_line))
            elif key == "seed":
                seeds = [f"seed={text}" for text in override.sweep_string_iterator()]
            elif isinstance(override.value(), IntervalSweep | RangeSweep):
                ranges[key] = override
            else:
                axes.append([f"{key}={text}" for text in override.sweep_string_iterator()])
        if not any(axis[0].startswith(f"{methods}=") for axis in axes):
            raise UserError(f"hydra/sweeper=tune compares the choices of {methods}: list them, as in {methods}=a,b")
        return cls(fixed, [list(cell) for cell in itertools.product(*axes)], seeds, ranges)


def space_of(method: str, group: str, ranges: Mapping[str, Override]) -> dict[str, Override]:
    """Read the search space of a method: its file in ``conf/search``, extended or narrowed by the command line.

    Raises:
        UserError: there is neither a file nor a range.
    """
    file = choices("search")["search"].get(f"{group}/{method}")
    if file is None and not ranges:
        raise UserError(
            f"there is no search space for {group}={method}: write conf/search/{group}/{method}.yaml, or give a range "
            "for all methods, such as 'optimizer.lr=tag(log,interval(1e-4,1e-2))'"
        )
    content: Any = {} if file is None else OmegaConf.to_container(OmegaConf.load(file))
    parsed = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in content.items()])
    return {override.get_key_element(): override for override in parsed} | dict(ranges)


def draw(space: Mapping[str, Override], trials: int, seed: str) -> list[list[str]]:
    """Draw settings: the method's defaults first, then independent random ones, uniform or log-uniform (tag ``log``).

    Args:
        space: ranges and choices by key.
        trials: number of trials, >= 1.
        seed: seed of the random draws.

    Returns:
        The overrides of each trial; those of the first trial are empty.
    """
    source = random.Random(seed)
    return [[], *([f"{key}={_draw(one, source)}" for key, one in space.items()] for _ in range(trials - 1))]


def _draw(override: Override, source: random.Random) -> str:
    value: Any = override.value()
    if isinstance(value, ChoiceSweep | RangeSweep):
        return source.choice(list(override.sweep_string_iterator()))
    if not isinstance(value, IntervalSweep):
        return str(override.get_value_element_as_str())
    assert value.start is not None
    assert value.end is not None
    low, high = float(value.start), float(value.end)
    logarithmic = "log" in value.tags
    if logarithmic and low <= 0:
        raise UserError(f"{override.input_line}: a logarithmic range must start above 0")
    whole = isinstance(value.start, int) and isinstance(value.end, int)
    if whole:  # widened, so that the limits are as probable as the values between them
        low, high = low - 0.4999, high + 0.4999
    drawn = math.exp(source.uniform(math.log(low), math.log(high))) if logarithmic else source.uniform(low, high)
    return str(round(drawn)) if whole else f"{drawn:.4g}"


def best_trial(objectives: Sequence[float | None]) -> int | None:
    """Return the index of the trial with the largest objective (the first of equal ones); None if all trials failed."""
    finished = [number for number, value in enumerate(objectives) if value is not None and math.isfinite(value)]
    return max(finished, key=lambda number: (objectives[number], -number), default=None)


def selection_note(folders: Sequence[Path], trials: int, seed: int) -> str:
    """Describe how settings were chosen, for tables: the metric, the number of trials and the seed."""
    for folder in folders:
        try:
            metric = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["objective_metric"]
        except (OSError, ValueError, KeyError):
            continue
        return f"best of {trials} trials by {metric} on seed {seed}"
    return f"best of {trials} trials on seed {seed}"
