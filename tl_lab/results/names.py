"""Names of metrics, ``<split>/<domain or task, if any>/<metric>``, and how each metric is displayed."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from tl_lab.results.kinds import Kind, kinds, leading

__all__ = [
    "ASSUMED",
    "BASELINE",
    "MetricName",
    "answerer",
    "companion",
    "describe_units",
    "duration",
    "format_change",
    "format_difference",
    "format_metric",
    "heading",
    "is_detail",
    "is_score",
    "is_share",
    "kind_of",
    "leading_metric",
    "leads",
    "less_is_better",
    "metric_rank",
    "named_by_unit",
    "natural",
    "readable",
    "split_name",
    "title",
]

_SPLITS = ("train", "val", "test", "oracle")
_Value = TypeVar("_Value")
ASSUMED = "acc"
"""The main metric of runs that do not record their problem (runs of earlier versions)."""
BASELINE = "gradient-boosted trees (baseline)"
"""Displayed name of the baseline on tables, whose scores have ``trees`` in their names."""
_OVER_TASKS = "task_mean"
_TRANSFER = ("bwt", "fwt", "forgetting")
_LESS_IS_BETTER = ("loss", "error", "entropy", "forgetting", "distance", "ece")  # last parts of the names


class MetricName(NamedTuple):
    """The parts of a metric's name: ``test/target/acc`` is ``("test", "target", "acc")``."""

    split: str
    part: str
    metric: str


def split_name(name: str) -> MetricName:
    """Split a metric's name into its parts.

    Args:
        name: name of the metric, for example ``test/target/acc``, ``val/acc`` or ``lr``.

    Returns:
        The split, the domain or task, and the metric; the first two are empty if the name does not have them.
    """
    first, *rest = name.split("/")
    if not rest or first not in _SPLITS:
        return MetricName("", "", name)
    return MetricName(first, "/".join(rest[:-1]), rest[-1])


def answerer(part: str) -> tuple[str, str]:
    """Determine whether the network or a baseline has a score.

    Args:
        part: middle part of a metric's name: a domain or task; ``trees`` or ``target trees`` for the baseline.

    Returns:
        The domain or task, and the name of the baseline, which is empty for the network.
    """
    domain, _, last = part.rpartition(" ")
    return (domain, BASELINE) if last == "trees" else (part, "")


def kind_of(name: str) -> Kind:
    """Look up the properties of a metric.

    Args:
        name: full name or its last part; half-widths (``acc_ci95``) and metrics of special quantities
            (``within_task_r2``, ``discriminator_acc``) have the kind of the metric at the end of their name.

    Returns:
        Its kind; for unknown names, that of a plain value without bounds.
    """
    metric, every = split_name(name).metric.removesuffix("_ci95"), kinds()
    if metric in every:
        return every[metric]
    known = max((each for each in every if metric.endswith(f"_{each}")), key=len, default="")
    if known:
        kind = every[known]._replace(words="", score=False, refines="")
        return kind._replace(higher=False) if metric.startswith("forgetting") else kind
    return Kind(higher=not metric.endswith(_LESS_IS_BETTER), score=False)


def named_by_unit(metrics: Mapping[str, _Value]) -> dict[str, _Value]:
    """Append the unit to transfer metrics of a stream that are not shares: ``test/bwt`` of R² becomes ``test/bwt_r2``.

    Args:
        metrics: metrics of one run, by name.
    """
    main = leading_metric(split_name(name).metric for name in metrics)
    if main is None or is_share(main):
        return dict(metrics)
    return {
        f"{name}_{main}" if split_name(name).metric in _TRANSFER else name: value for name, value in metrics.items()
    }


def is_share(metric: str) -> bool:
    """Whether a metric is a share in [0, 1] that is displayed in per cent (accuracy, F1, AUROC)."""
    return kind_of(metric).share


def is_score(metric: str) -> bool:
    """Whether a metric measures the quality of predictions, and thus is a column of a run's table."""
    return kind_of(metric).score


def less_is_better(name: str) -> bool:
    """Whether smaller values of a metric are better (losses, errors, forgetting)."""
    return not kind_of(name).higher


def leads(name: str) -> bool:
    """Whether a metric is the main metric of its problem (accuracy, mean AUROC, R²)."""
    return split_name(name).metric in leading()


def leading_metric(names: Iterable[str]) -> str | None:
    """Find the main metric among the measured ones.

    Args:
        names: full names of metrics (``test/target/r2``) or their last parts.

    Returns:
        The last part of the first main metric that occurs, in the order of the problems; otherwise of the first score,
        in the order of :func:`~tl_lab.results.kinds.kinds`; otherwise of the first metric of a test, validation or
        oracle split that is neither a loss nor a half-width; None if there is no such metric.
    """
    taken = [split_name(name) for name in names]
    metrics = {each.metric for each in taken}
    if _OVER_TASKS in metrics:  # the mean over tasks precedes the metrics of the tasks
        return _OVER_TASKS
    for metric in (*leading(), *(metric for metric, kind in kinds().items() if kind.score)):
        if metric in metrics:
            return metric
    others = (each.metric for each in taken if each.split in ("test", "val", "oracle"))
    return next((metric for metric in others if "loss" not in metric and not metric.endswith("_ci95")), None)


def companion(name: str) -> str | None:
    """Return the metric that a metric refines, on the same set: ``val/acc`` for ``val/balanced_acc``; None if none."""
    refined = kind_of(name).refines
    return "/".join([*name.split("/")[:-1], refined]) if refined else None


def is_detail(name: str) -> bool:
    """Whether a metric is a detail of one task of a stream, too specific for a table of all tasks."""
    return split_name(name).part.startswith("task") and not leads(name)


def readable(metric: str) -> str:
    """Convert the last part of a metric's name to words: ``f1_macro`` becomes ``macro F1``."""
    every = kinds()
    if metric in every and every[metric].words:
        return every[metric].words
    return " ".join((every[word].words if word in every else "") or word for word in metric.split("_"))


def describe_units(names: Iterable[str]) -> str:
    """Describe the units of metrics, with one sentence for each problem."""
    metrics = {split_name(name).metric for name in names}
    return " ".join([text for metric, text in leading().items() if metric in metrics and text] or [leading()[ASSUMED]])


def format_metric(
    name: str, value: float | None, half_width: float | None = None, both: tuple[float, float] | None = None
) -> str:
    """Format a metric's value: shares in per cent, other values by their kind.

    Args:
        name: the metric's name; its last part determines the unit.
        value: the stored value; None or NaN gives a dash.
        half_width: half-width of its interval, in the unit of the value; None or NaN to omit it.
        both: the two values of which ``value`` is the mean; None or NaN to omit them.

    Returns:
        Text such as ``93.2``, ``93.2 ± 1.1``, ``93.2 (92.9, 93.5)`` or ``0.4127``.
    """
    return _formatted(name, value, half_width, both, _plain)


def format_difference(
    name: str, value: float, half_width: float | None = None, both: tuple[float, float] | None = None
) -> str:
    """Format a difference of two values of a metric as :func:`format_metric` does, with its sign; 0 has no sign."""
    return _formatted(name, value, half_width, both, _signed)


def format_change(name: str, value: float) -> str:
    """Format a difference of two values of a metric with its sign, including that of 0."""
    scale, digits = _format_of(name)
    return format(scale * value, f"+{digits}")


def _formatted(
    name: str,
    value: float | None,
    half_width: float | None,
    both: tuple[float, float] | None,
    written: Callable[[float, str], str],
) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    scale, digits = _format_of(name)
    text = written(scale * value, digits)
    if half_width is not None and math.isfinite(half_width):
        return f"{text} ± {format(scale * half_width, digits)}"
    if both is not None and all(map(math.isfinite, both)):
        low, high = sorted(both)
        return f"{text} ({written(scale * low, digits)}, {written(scale * high, digits)})"
    return text


def _format_of(name: str) -> tuple[float, str]:
    kind = kind_of(name)
    return (100.0 if kind.share else 1.0), kind.digits


def _plain(value: float, digits: str) -> str:
    return format(value, digits)


def _signed(value: float, digits: str) -> str:
    text = format(value, digits)
    return f"+{text}" if value > 0 and float(text) else text


def duration(seconds: float) -> str:
    """Format a duration: ``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def heading(name: str) -> str:
    """Format a metric's full name as a column header: ``test target accuracy %``."""
    split, part, metric = split_name(name)
    words = " ".join(filter(None, (split, part, readable(metric))))
    return words + (" %" if is_share(metric) else "")


def title(name: str) -> str:
    """Format a metric's full name as the title of a table: ``Test target accuracy``."""
    words = heading(name).removesuffix(" %")
    return words[:1].upper() + words[1:]


def metric_rank(name: str) -> tuple[int, list[tuple[int, str]], int, str]:
    """Return a sort key for metrics: test before validation, accuracy before its refinements, task 2 before task 10."""
    split, part, metric = split_name(name)
    splits, metrics = ("test", "val", "train", "oracle"), [metric for metric, kind in kinds().items() if kind.score]
    return (
        splits.index(split) if split in splits else len(splits),
        natural(part),
        metrics.index(metric) if metric in metrics else len(metrics),
        metric,
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key for names in natural order: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
