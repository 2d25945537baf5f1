"""Arrange a sweep by methods and tasks, as in papers, and compare it with published values.

This module does not import torch.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_lab.errors import UserError, nearest
from tl_lab.results.names import ASSUMED, format_difference, format_metric, less_is_better
from tl_lab.results.tables.claims import Claim
from tl_lab.results.tables.statistics import NO_PAIR, both_of, half_width, holm
from tl_lab.results.tables.verdicts import Verdict, decide

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Comparison",
    "Crossed",
    "Reproduces",
    "arrange",
    "chosen",
    "compare_methods",
    "comparison_rows",
    "cross",
    "crossed_rows",
    "named_methods",
    "swept_keys",
    "verdict_rows",
    "verdicts",
    "verdicts_by_task",
]

_FEWEST_FOR_RANKS = 6
"""Smallest number of tasks with which a two-sided signed-rank test can reach p < .05."""
_BASELINES = ("none", "source_only", "naive", "from_scratch")


@dataclass(frozen=True)
class Reproduces:
    """Published values for an experiment: the node ``reproduces`` of its file.

    Args:
        source: paper, table and page of the values.
        metric: the corresponding metric of a run, for example ``test/target/r2``, in its unit (accuracies in [0, 1]).
        tolerance: largest difference between measured and published mean that counts as reproduced, >= 0; the whole
            interval must be within it (:func:`~tl_lab.results.tables.verdicts.decide`).
        methods: swept key whose values are the compared methods.
        tasks: swept key whose values are the tasks over which methods are compared; None for one task.
        variants: further swept keys, each with its usual value; another value makes the run a separate method, whose
            name has the value appended, such as ``fine_tuning, word_vectors``.
        tuned: swept keys whose best value by ``chosen_by`` is used for each method, task and seed.
        chosen_by: metric that selects among runs; it must not use the target's labels.
        published: for each method a number or, with tasks, a number for each task; methods that occur only in the paper
            are shown in addition to the others.
        standard_errors: standard error of each method's published mean over tasks, >= 0, if the paper states it.
        deviation: one sentence that states how the experiment deviates from the published protocol; None if it follows
            it. With a deviation, numbers are compared, but nothing is called reproduced.
        claims: claims that settings are better than others, or hardly worse, each with the keys of
            :class:`~tl_lab.results.tables.claims.Claim`.

    Raises:
        UserError: a value is not a number, the deviation is not a sentence, methods have different tasks, or a claim
            compares values that are not swept.
    """

    source: str
    metric: str = f"test/target/{ASSUMED}"
    tolerance: float = 0.02
    methods: str = "domain_adaptation"
    tasks: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)
    tuned: Sequence[str] = ()
    chosen_by: str | None = None
    published: Mapping[str, Any] = field(default_factory=dict)
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    claims: Sequence[Mapping[str, Any]] = ()
    deviation: str | None = None

    def __post_init__(self) -> None:
        for claim in self.expectations:
            for key in (*claim.better, *({claim.over} - {"seed"})):
                if key not in self.swept:
                    raise UserError(f"reproduces.claims: {key!r} is not swept; {nearest(key, self.swept)}")
        if not self.tolerance >= 0:
            raise UserError(f"reproduces.tolerance must be at least 0, not {self.tolerance}")
        if self.deviation is not None and not (isinstance(self.deviation, str) and self.deviation.strip()):
            raise UserError(
                f"reproduces.deviation must be a sentence, or null for the published protocol, not {self.deviation!r}"
            )
        if bool(self.tuned) != (self.chosen_by is not None):
            raise UserError(
                "reproduces.tuned (swept keys) and reproduces.chosen_by (the metric that selects) must be set together"
            )
        if (self.chosen_by or "").startswith(("test/", "oracle/")):
            raise UserError(f"reproduces.chosen_by={self.chosen_by}: test metrics cannot be used for selection")
        for method, numbers in self.published.items():
            where = f"reproduces.published.{method}"
            if self.tasks is None and not _is_number(numbers):
                raise UserError(f"{where} must be one number if reproduces.tasks is null, not {numbers!r}")
            if self.tasks is not None and not (
                isinstance(numbers, Mapping) and numbers and all(map(_is_number, numbers.values()))
            ):
                raise UserError(f"{where} must give a number for each value of {self.tasks}, not {numbers!r}")
        for method, error in self.standard_errors.items():
            where = f"reproduces.standard_errors.{method}"
            if method not in self.published:
                raise UserError(f"{where} has no published number; {nearest(method, self.published)}")
            if not (_is_number(error) and error >= 0):
                raise UserError(f"{where} must be a number of at least 0, not {error!r}")
        if self.tasks is not None and len({frozenset(numbers) for numbers in self.published.values()}) > 1:
            raise UserError(f"reproduces.published gives different {self.tasks} for different methods")

    @classmethod
    def from_node(cls, node: Mapping[str, Any] | None) -> "Reproduces | None":
        """Read the node of a configuration; None if the experiment has no published values.

        Raises:
            UserError: a key is unknown, ``source`` is missing, or a value is wrong.
        """
        if not node:
            return None
        names = {each.name for each in fields(cls)}
        for key in node:
            if key not in names:
                raise UserError(f"reproduces has no key {key!r}; {nearest(str(key), names)}")
        if not isinstance(node.get("source"), str):
            raise UserError("reproduces.source must state the paper, table and page")
        return cls(**node)

    @property
    def swept(self) -> list[str]:
        """The swept keys: of methods, tasks and variants, and the tuned keys."""
        return [key for key in (self.methods, self.tasks, *self.variants, *self.tuned) if key]

    @property
    def expectations(self) -> list[Claim]:
        """The claims.

        Raises:
            UserError: a claim is invalid.
        """
        return [Claim.from_node(node) for node in self.claims]

    def of(self, method: str, task: str | None) -> float | None:
        """Return the published number of a method on a task; None if there is none."""
        numbers = self.published.get(method)
        if numbers is None or self.tasks is None:
            return numbers
        return numbers.get(task)

    def mean(self, method: str, tasks: Sequence[str]) -> float | None:
        """Return a method's published mean over the tasks that have a number, with equal weights."""
        numbers = self.published.get(method)
        if numbers is None or self.tasks is None:
            return numbers
        known = [numbers[task] for task in tasks if task in numbers]
        return float(np.mean(known)) if known else None

    def covered(self, method: str, tasks: Sequence[str]) -> bool:
        """Whether the tasks are all those of the method's published numbers."""
        numbers = self.published.get(method)
        return self.tasks is None or numbers is None or set(numbers) <= set(tasks)


@dataclass(frozen=True)
class Crossed:
    """A metric by method and task.

    Args:
        methods: names of the M methods in the order of the runs, a baseline first.
        tasks: names of the T tasks in the order of the runs, numbers (and ``null``, for all) in ascending order; a
            single empty text if tasks were not swept.
        seeds: number of seeds, ``(T, M)``; 0 without runs.
        mean: mean over seeds, ``(T, M)``; NaN without runs.
        half: half-width of its 95 % interval, ``(T, M)``; NaN with fewer than three seeds.
        overall: mean over tasks with equal weights, ``(M,)``; NaN if a task is missing.
        overall_half: half-width of the interval of ``overall`` over seeds, ``(M,)``; NaN with fewer than three seeds,
            or if runs are missing.
        oracles: methods that used the target's labels.
        both: the values of two seeds by position of task and method; absent for other numbers of seeds.
        overall_both: the means over tasks of two seeds by position of the method; absent for other numbers of seeds.
        overall_of: mean over tasks of each seed by position of the method; absent if runs are missing.
        of_each: the values of all seeds by position of task and method; absent without runs.
    """

    methods: list[str]
    tasks: list[str]
    seeds: np.ndarray
    mean: np.ndarray
    half: np.ndarray
    overall: np.ndarray
    overall_half: np.ndarray
    oracles: frozenset[str] = frozenset()
    both: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    overall_both: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    overall_of: Mapping[int, np.ndarray] = field(default_factory=dict)
    of_each: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def named(self, method: str) -> str:
        """Return the displayed name of a method, which marks an oracle."""
        return f"{method} (oracle)" if method in self.oracles else method

    def seed_range(self) -> str:
        """Return the range of numbers of seeds as text: ``3``, or ``1 to 3``."""
        numbers = self.seeds[self.seeds > 0]
        low, high = int(numbers.min()), int(numbers.max())
        return str(low) if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Comparison:
    """Comparison of a method with the baseline over tasks.

    Args:
        method: name of the method.
        baseline: name of the method with which it is compared.
        n: number of tasks that both have.
        mean: mean over tasks of the difference of the means over seeds.
        half: half-width of its 95 % Student t interval over tasks; NaN with fewer than three tasks.
        above: number of tasks on which the method is better.
        p: p-value of Wilcoxon's two-sided signed-rank test, Holm-corrected for the number of methods; None with fewer
            than six tasks, or if all differences are zero.
        both: the two differences if there are two tasks; otherwise NaN.
    """

    method: str
    baseline: str
    n: int
    mean: float
    half: float
    above: int
    p: float | None
    both: tuple[float, float] = NO_PAIR


def chosen(runs: "pd.DataFrame", expected: Reproduces) -> "pd.DataFrame":
    """Select the best run by ``chosen_by`` for each method, variant, task and seed.

    Args:
        runs: completed runs (see :func:`cross`).
        expected: the swept keys, the tuned keys and the metric that selects.

    Returns:
        The selected runs; all runs if nothing is tuned. If no run of a group has the metric, its first run is selected.
    """
    keys = [f"override.{key}" for key in expected.swept if key not in expected.tuned]
    if expected.chosen_by is None or not set(keys) <= set(runs):
        return runs
    score = runs[expected.chosen_by] if expected.chosen_by in runs else runs["seed"] * float("nan")
    score = -score if less_is_better(expected.chosen_by) else score
    best = runs.assign(_score=score.fillna(-np.inf)).groupby([*keys, "seed"], sort=False)["_score"].idxmax()
    return runs.loc[sorted(best)]


def named_methods(runs: "pd.DataFrame", expected: Reproduces) -> "pd.Series":
    """Return the method of each run, followed by those values of the variants that are not the usual ones.

    Args:
        runs: completed runs (see :func:`cross`).
        expected: the keys of methods and variants.
    """
    names = runs[f"override.{expected.methods}"].copy()
    for key, usual in expected.variants.items():
        if (column := f"override.{key}") in runs:
            other = runs[column].notna() & (runs[column] != usual)
            names[other] = names[other] + ", " + runs.loc[other, column]
    return names


def arrange(runs: "pd.DataFrame", expected: Reproduces) -> Crossed | None:
    """Arrange the runs of an experiment by methods (with variants) and tasks, after selecting the best tuned values.

    Args:
        runs: completed runs (see :func:`cross`).
        expected: the keys, the metric and the metric that selects.

    Returns:
        The table; None if no run has the metric, or the key of the methods.
    """
    if (column := f"override.{expected.methods}") not in runs:
        return None
    named = runs.assign(**{column: named_methods(runs, expected)})
    return cross(chosen(named, expected), expected.metric, expected.methods, expected.tasks)


def cross(runs: "pd.DataFrame", metric: str, methods: str, tasks: str | None) -> Crossed | None:
    """Arrange independent runs by method and task.

    Args:
        runs: completed runs, one row each, with columns ``seed``, the metric, and ``override.<key>`` of both keys.
        metric: the metric's name.
        methods: swept key of the methods.
        tasks: swept key of the tasks, or None.

    Returns:
        The table; None if no run has the metric, or the keys.
    """
    key, of_task = f"override.{methods}", f"override.{tasks}"
    if key not in runs or metric not in runs or (tasks is not None and of_task not in runs):
        return None
    kept = runs.assign(_task=runs[of_task] if tasks is not None else "").dropna(subset=[metric, key, "_task"])
    if not len(kept):
        return None
    names, places = list(dict.fromkeys(kept[key])), list(dict.fromkeys(kept["_task"]))
    names.sort(key=lambda name: name not in _BASELINES)  # the baseline comes first
    with contextlib.suppress(ValueError):  # names stay in the order of the runs
        places.sort(key=lambda place: math.inf if place == "null" else float(place))
    scores = dict(iter(kept.groupby(["_task", key], sort=False)))
    shape = len(places), len(names)
    mean, half, seeds = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=int)
    both, overall_both, overall_of, of_each = {}, {}, {}, {}
    for i, place in enumerate(places):
        for j, name in enumerate(names):
            if (place, name) in scores:
                values = scores[place, name][metric].to_numpy(dtype=float)
                mean[i, j], half[i, j], seeds[i, j] = values.mean(), half_width(values), len(values)
                both[i, j], of_each[i, j] = both_of(values), values
    by_seed = kept.pivot_table(index="seed", columns=[key, "_task"], values=metric, sort=False)
    overall_half = np.full(len(names), np.nan)
    for j, name in enumerate(names):
        rows = by_seed.xs(name, axis=1, level=0)
        if rows.shape[1] == len(places) and bool(rows.notna().all(axis=None)):
            of_seeds = rows.mean(axis=1).to_numpy(dtype=float)
            overall_half[j], overall_both[j], overall_of[j] = half_width(of_seeds), both_of(of_seeds), of_seeds
    marked = runs["oracle"].fillna(False).astype(bool) if "oracle" in runs else kept[key] != kept[key]
    oracles = frozenset(runs.loc[marked.reindex(runs.index, fill_value=False), key])
    averages = mean.mean(axis=0)
    return Crossed(
        names, places, seeds, mean, half, averages, overall_half, oracles, both, overall_both, overall_of, of_each
    )


def compare_methods(table: Crossed, metric: str = ASSUMED) -> list[Comparison]:
    """Compare each method with the baseline over tasks.

    Each task contributes the difference of the two means over seeds. Tasks that share domains are not independent,
    which makes intervals too narrow.

    Args:
        table: methods by tasks.
        metric: the metric's name, which determines the direction.

    Returns:
        A row for each method; empty if there is no baseline (such as ``none`` or ``source_only``), or only one task.
    """
    baseline = next((name for name in _BASELINES if name in table.methods), None)
    if baseline is None or len(table.tasks) < 2:
        return []
    base = table.mean[:, table.methods.index(baseline)]
    found = []
    for j, method in enumerate(table.methods):
        difference = table.mean[:, j] - base
        difference = difference[np.isfinite(difference)]
        if method != baseline and len(difference):
            found.append((method, difference))
    corrected = holm([_signed_rank(difference) for _, difference in found])
    sign = -1.0 if less_is_better(metric) else 1.0
    return [
        Comparison(method, baseline, len(d), float(d.mean()), half_width(d), int((sign * d > 0).sum()), p, both_of(d))
        for (method, d), p in zip(found, corrected, strict=True)
    ]


def crossed_rows(
    table: Crossed, metric: str, tasks: str, expected: Reproduces | None = None
) -> tuple[list[str], list[list[str]]]:
    """Format methods by tasks: one row per task and one for the mean, one column per method, then published values.

    Args:
        table: methods by tasks.
        metric: the metric's name.
        tasks: swept key of the tasks; empty for one task.
        expected: published values.

    Returns:
        The column headers, and the rows, as text.
    """
    published = list(expected.published) if expected is not None else []
    head = [
        tasks.rpartition(".")[2] or "task",
        *map(table.named, table.methods),
        *(f"{name}, published" for name in published),
    ]

    def line(
        name: str,
        means: np.ndarray,
        halves: np.ndarray,
        both: Sequence[tuple[float, float] | None],
        papers: list[float | None],
    ) -> list[str]:
        cells = [
            format_metric(metric, float(m), float(h), pair) for m, h, pair in zip(means, halves, both, strict=True)
        ]
        return [name, *cells, *(format_metric(metric, number) for number in papers)]

    rows = []
    for i, task in enumerate(table.tasks):
        papers = [expected.of(name, task) for name in published] if expected is not None else []
        both = [table.both.get((i, j)) for j in range(len(table.methods))]
        rows.append(line(task or "all", table.mean[i], table.half[i], both, papers))
    if len(table.tasks) > 1:
        papers = [expected.mean(name, table.tasks) for name in published] if expected is not None else []
        both = [table.overall_both.get(j) for j in range(len(table.methods))]
        rows.append(line("mean", table.overall, table.overall_half, both, papers))
    return head, rows


def verdicts(table: Crossed, expected: Reproduces) -> dict[str, Verdict]:
    """Compare each method with its published number, for methods that have runs of all tasks and seeds."""
    found = {}
    for j, values in table.overall_of.items():
        method = table.methods[j]
        published = expected.mean(method, table.tasks)
        if published is not None and expected.covered(method, table.tasks):
            error = float(expected.standard_errors.get(method, 0.0))
            found[method] = decide(values, published, expected.tolerance, error)
    return found


def verdicts_by_task(table: Crossed, expected: Reproduces) -> dict[tuple[str, str], tuple[Verdict, int]]:
    """Compare each published number with the runs of its own method and task.

    Args:
        table: methods by tasks.
        expected: published numbers; the tolerance of a mean over tasks also applies to each task.

    Returns:
        The verdict and the number of seeds by method and task.
    """
    found = {}
    for (i, j), values in table.of_each.items():
        method, task = table.methods[j], table.tasks[i]
        if (published := expected.of(method, task)) is not None:
            error = float(expected.standard_errors.get(method, 0.0))
            found[method, task] = decide(values, published, expected.tolerance, error), len(values)
    return found


def verdict_rows(table: Crossed, metric: str, expected: Reproduces) -> list[list[str]]:
    """Return a row for each published method: method, measured, published, difference, verdict."""
    rows = []
    found = verdicts(table, expected)
    for j, method in enumerate(table.methods):
        published, measured = expected.mean(method, table.tasks), float(table.overall[j])
        if published is None:
            continue
        verdict = found.get(method)
        missing = "runs are missing" if expected.covered(method, table.tasks) else "tasks are missing"
        rows.append(
            [
                table.named(method),
                format_metric(metric, measured, float(table.overall_half[j]), table.overall_both.get(j)),
                format_metric(metric, published),
                format_difference(metric, measured - published, verdict.half if verdict else math.nan),
                verdict.text if verdict else missing,
            ]
        )
    return rows


def comparison_rows(table: Crossed, metric: str) -> list[list[str]]:
    """Return a row for each method: method, baseline, difference, number of tasks on which it is better, p-value."""
    return [
        [
            table.named(each.method),
            each.baseline,
            format_difference(metric, each.mean, each.half, each.both),
            f"{each.above} of {each.n}",
            "-" if each.p is None else f"{each.p:.3f}" if each.p >= 0.001 else "< 0.001",
        ]
        for each in compare_methods(table, metric)
    ]


def _signed_rank(difference: np.ndarray) -> float | None:
    if len(difference) < _FEWEST_FOR_RANKS or not difference.any():
        return None
    from scipy.stats import wilcoxon  # takes seconds to import

    return float(wilcoxon(difference).pvalue)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def swept_keys(runs: "pd.DataFrame") -> Sequence[str]:
    """List the overridden keys whose values differ between runs, except the seed."""
    columns = [name for name in runs if str(name).startswith("override.") and name != "override.seed"]
    return [str(name).removeprefix("override.") for name in columns if runs[name].nunique(dropna=False) > 1]
