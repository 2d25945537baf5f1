"""Diagnosis of an adaptation: its measurements, and a line that interprets them. This module does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Health", "reading", "verdict"]

# Limits of the verdict, determined on stored runs of two domain pairs (benchmarks/adaptation_health.py).
_FARTHER = 0.1  # mean change of the two distances at the head, in their units, that counts as divergence
_LOST = 0.05  # of the source's validation accuracy
_GUESSES = 0.25  # unit of the linear domain accuracy: half of the range from chance (.5) to certainty (1)
_LEAST_DISPARITY = 0.1  # smallest unit of the disparity
_APART = 0.6  # linear domain accuracy at the head above which a term with a small gradient is reported
_LOUD, _FAINT = 10.0, 0.01  # gradient of a term at the features, relative to the task loss
_FEW = 50  # scored samples of a domain below which the distances are unreliable

_WORDS = {
    "linear_acc": "linear domain accuracy",
    "mmd": "MMD^2",
    "disparity": "disparity discrepancy",
    "class_gap": "gap of class means over spread",
}


@dataclass(frozen=True)
class Health:
    """Measurements of a run on two domains, at the tested weights unless stated otherwise.

    Args:
        adapts: whether the method aligns the domains; False for the bounds.
        a_distance_start: proxy A-distance of the features before training, in [0, 2]; None if unknown.
        a_distance: the same at the tested weights.
        linear_acc_start: accuracy of the linear domain classifier before training, in [0, 1].
        linear_acc: the same at the tested weights.
        discriminator_acc: mean accuracy of the method's own discriminator over the tested epoch; None without one.
        lambda_end: factor of the reversed gradient at that time; None without one.
        gradient_norms: term -> mean norm of its gradient at the features, over the epochs up to the tested one.
        source_score: accuracy on the source's validation set, or the main metric of problems without classes.
        best_source_score: its highest value up to the tested epoch.
        scored: samples of each domain on which the linear classifier is scored.
        head: distances between the domains at the head's outputs (``linear_acc``, ``mmd``, ``disparity``,
            ``class_gap``); empty if unknown.
        baseline: the same distances of the run with the same configuration without adaptation.
        baseline_source_score: that run's score on the source's validation set.
        baseline_origin: description of that run.
    """

    adapts: bool = True
    a_distance_start: float | None = None
    a_distance: float | None = None
    linear_acc_start: float | None = None
    linear_acc: float | None = None
    discriminator_acc: float | None = None
    lambda_end: float | None = None
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    source_score: float | None = None
    best_source_score: float | None = None
    scored: int | None = None
    head: Mapping[str, float] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    baseline_source_score: float | None = None
    baseline_origin: str | None = None


def verdict(
    head: Mapping[str, float],
    baseline: Mapping[str, float],
    source_score: float | None = None,
    baseline_source_score: float | None = None,
    farther: float = _FARTHER,
    lost: float = _LOST,
) -> int | None:
    """Estimate without target labels whether an adaptation gained accuracy on the target.

    It probably lost if the source's validation score is more than .05 below that without adaptation
    (over-alignment), or if the domains are farther apart at the head: neither the linear domain accuracy nor the
    disparity discrepancy fell, and their mean change is above .1, where the former is in units of .25 and the latter in
    units of its earlier value (at least .1), each clipped to [-1, 1]. It probably gained if neither rose and one fell.
    Otherwise it is undecided: the two disagree, or hardly changed.
    MMD^2 and the gap of class means are not used: they also fall if an adversary aligns the wrong classes.

    Args:
        head: ``linear_acc`` and, with classes, ``disparity`` of the run.
        baseline: ``linear_acc`` and ``disparity`` of the same configuration without adaptation.
        source_score: on the source's validation set; None if unknown.
        baseline_source_score: the same without adaptation.
        farther: limit of the mean change.
        lost: limit of the decrease on the source.

    Returns:
        1 for a probable gain, -1 for a probable loss, 0 if undecided, None if there is nothing to compare.
    """
    if source_score is not None and baseline_source_score is not None and baseline_source_score - source_score > lost:
        return -1
    units = {"linear_acc": _GUESSES, "disparity": max(_LEAST_DISPARITY, baseline.get("disparity", 0.0))}
    shared = [name for name in units if name in head and name in baseline]
    if not shared:
        return None
    changes = [max(-1.0, min(1.0, (head[name] - baseline[name]) / units[name])) for name in shared]
    if min(changes) >= 0 and sum(changes) / len(changes) > farther:
        return -1
    return 1 if max(changes) <= 0 and min(changes) < 0 else 0


def reading(health: Health) -> str:
    """Interpret the numbers by fixed rules, joined by semicolons:

    1. without adaptation, the shift; otherwise the changes at the head relative to the same configuration without
       adaptation, and whether the target probably gained or lost, or that this is undecided (see :func:`verdict`);
       without such a run, the numbers alone;
    2. for the source, whether its validation accuracy fell by more than .05 during training;
    3. for the gradients at the features, whether that of a term is at least ten times the task's or, while a linear
       classifier separates the domains at the head, at most a hundredth of it.

    The A-distance of the features is reported without a verdict: it may rise while the target gains.

    Args:
        health: the measurements; values that are missing or None are skipped.

    Returns:
        One line without a full stop.
    """
    parts = [_shift(health)] if not health.adapts else [_effect(health), _source(health), *_gradients(health)]
    if health.scored is not None and health.scored < _FEW:
        parts.append(f"measured on only {health.scored} samples of each domain: unreliable")
    return "; ".join(filter(None, parts)) or "nothing was measured"


def _shift(health: Health) -> str:
    if health.a_distance is None:
        return ""
    linear = "" if health.linear_acc is None else f" (accuracy of a linear domain classifier: {_of(health.linear_acc)})"
    at_head = f"; {_at_head(health.head, {})}" if health.head else ""
    return f"without adaptation the domains' A-distance is {_change(health)}{linear}{at_head}"


def _effect(health: Health) -> str:
    if not health.head:
        return ""
    numbers = _at_head(health.head, health.baseline)
    sign = verdict(health.head, health.baseline, health.source_score, health.baseline_source_score)
    if not health.baseline or sign is None:
        return f"{numbers}; compare with the same run with domain_adaptation=none"
    beside = f"{numbers} (without adaptation -> with it; {health.baseline_origin})"
    score, before = health.source_score, health.baseline_source_score
    if score is not None and before is not None and before - score > _LOST:
        source = f"source validation accuracy is {_of(score)} instead of {_of(before)}"
        return f"{beside}: {source}, so the target has probably lost"
    if sign == 0:
        return f"{beside}: undecided, the linear domain accuracy and the disparity disagree or hardly changed"
    return f"{beside}: the target has probably {'gained' if sign > 0 else 'lost'}"


def _at_head(head: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    distances = []
    for name, words in _WORDS.items():
        if name in head:
            before = f"{_of(baseline[name])} -> " if name in baseline else ""
            distances.append(f"{words} {before}{_of(head[name])}")
    return f"at the head: {', '.join(distances)}"


def _source(health: Health) -> str:
    if health.source_score is None:
        return ""
    best = health.source_score if health.best_source_score is None else health.best_source_score
    if best - health.source_score > _LOST:
        return f"source validation fell from {_of(best)} to {_of(health.source_score)} in training"
    return ""


def _gradients(health: Health) -> list[str]:
    task = health.gradient_norms.get("task_loss", 0.0)
    if task <= 0:
        return []
    apart = health.head.get("linear_acc", 0.0) > _APART
    warnings = []
    for name, norm in health.gradient_norms.items():
        ratio, term = norm / task, name.replace("_", " ")
        if name == "task_loss":
            continue
        if ratio >= _LOUD:
            warnings.append(f"the gradient of the {term} is {ratio:.0f} times the task's: lower its weight")
        elif apart and 0 < ratio <= _FAINT:
            warnings.append(f"the gradient of the {term} is only {ratio:.1g} of the task's: raise its weight")
    return warnings


def _change(health: Health) -> str:
    start = "" if health.a_distance_start is None else f"{health.a_distance_start:.2f} -> "
    return f"{start}{health.a_distance:.2f}"


def _of(number: float) -> str:
    return f"{number:.2f}".removeprefix("0")
