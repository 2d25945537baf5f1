"""The grammar of metric names, ``<split>/<domain or task, if any>/<metric>``, in one place."""

import math
import re
from typing import NamedTuple

__all__ = [
    "MetricName",
    "duration",
    "format_difference",
    "format_metric",
    "heading",
    "is_detail",
    "is_share",
    "less_is_better",
    "metric_rank",
    "natural",
    "readable",
    "split_name",
    "title",
]

_SPLITS = ("train", "val", "test", "oracle")
_WORDS = {
    "acc": "accuracy",
    "balanced_acc": "balanced accuracy",
    "f1_macro": "macro F1",
    "lr": "learning rate",
}
_SHARES = ("acc", "f1_macro", "f1", "precision", "recall", "auroc")


class MetricName(NamedTuple):
    """A metric's name taken apart: ``test/target/acc`` is ``("test", "target", "acc")``."""

    split: str
    part: str
    metric: str


def split_name(name: str) -> MetricName:
    """Take a metric's name apart.

    Args:
        name: for example ``test/target/acc``, ``val/acc`` or ``lr``.

    Returns:
        split (empty where the name has none), domain or task (empty where it has none), and metric.
    """
    first, *rest = name.split("/")
    if not rest or first not in _SPLITS:
        return MetricName("", "", name)
    return MetricName(first, "/".join(rest[:-1]), rest[-1])


def is_share(metric: str) -> bool:
    """Say whether a metric is a share in [0, 1] that readers know as a percentage (accuracy, F1)."""
    return metric in _SHARES or metric.endswith(("_acc", "_acc_ci95", "acc_ci95"))


def less_is_better(name: str) -> bool:
    """Say whether a metric is better where it is smaller (losses, errors, forgetting)."""
    return split_name(name).metric.endswith(("loss", "error", "entropy", "forgetting", "distance", "ece"))


def is_detail(name: str) -> bool:
    """Say whether a metric tells more of one task of a stream than its accuracy: too much where all tasks are shown."""
    _, part, metric = split_name(name)
    return part.startswith("task") and metric != "acc"


def readable(metric: str) -> str:
    """Write the last part of a metric's name as words: ``f1_macro`` is ``macro F1``."""
    if metric in _WORDS:
        return _WORDS[metric]
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))


def format_metric(name: str, value: float | None, half_width: float | None = None) -> str:
    """Write a metric's value for a person: shares in per cent, all else with four significant digits.

    Args:
        name: the metric's name; its last part decides the unit.
        value: the value as stored; None or NaN gives a dash.
        half_width: half the width of its interval, in the unit of the value; None or NaN leaves it out.

    Returns:
        Text such as ``93.2``, ``93.2 ± 1.1`` or ``0.4127``.
    """
    if value is None or not math.isfinite(value):
        return "-"
    scale, digits = (100.0, "z.1f") if is_share(split_name(name).metric) else (1.0, "z.4g")
    text = format(scale * value, digits)
    if half_width is not None and math.isfinite(half_width):
        text += f" ± {format(scale * half_width, digits)}"
    return text


def format_difference(name: str, value: float, half_width: float | None = None) -> str:
    """Write a difference of two values of a metric with its sign, as :func:`format_metric` does; 0 has none."""
    text = format_metric(name, value, half_width)
    return f"+{text}" if value > 0 and re.match(r"0(\.0+)?(?![.\de])", text) is None else text


def duration(seconds: float) -> str:
    """Write a duration for a person: ``0.4 s``, ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def heading(name: str) -> str:
    """Write a metric's whole name as the head of a column: ``test target accuracy %``."""
    split, part, metric = split_name(name)
    words = " ".join(filter(None, (split, part, readable(metric))))
    return words + (" %" if is_share(metric) else "")


def title(name: str) -> str:
    """Write a metric's whole name as the title of a table: ``Test target accuracy``."""
    words = heading(name).removesuffix(" %")
    return words[:1].upper() + words[1:]


def metric_rank(name: str) -> tuple[int, list[tuple[int, str]], int, str]:
    """Give a key that sorts metrics: test before validation, accuracy before what explains it, task 2 before 10."""
    split, part, metric = split_name(name)
    splits, metrics = ("test", "val", "train", "oracle"), ("acc", "balanced_acc", "f1_macro")
    return (
        splits.index(split) if split in splits else len(splits),
        natural(part),
        metrics.index(metric) if metric in metrics else len(metrics),
        metric,
    )


def natural(name: str) -> list[tuple[int, str]]:
    """Give a key that sorts names the way people count: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
