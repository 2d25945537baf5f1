"""The health of an adaptation, in numbers and in one line. Nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Health", "reading"]

# The rules' limits. A linear classifier that is right in three of four cases tells the domains apart: A-distance 1.
_APART = 1.0
_TELLS = 0.75
_COLLAPSED = 0.55  # accuracy of a discriminator that might as well guess
_WINS = 0.95
_MOVED = 0.3  # change of the A-distance that counts; two standard errors at 350 scored samples of each domain
_LOST = 0.05  # of the source's validation accuracy
_LOUD, _FAINT = 10.0, 0.01  # gradient of a term at the features, in the task loss's
_FEW = 50  # scored samples of a domain below which the A-distance is not worth much (standard error 0.2 and more)


@dataclass(frozen=True)
class Health:
    """What is measured of a run on two domains, at the tested weights if nothing else is said.

    Args:
        adapts: whether anything brings the domains together; False for the bounds.
        a_distance_start: proxy A-distance of the features before training, in [0, 2]; None if not known.
        a_distance: the same at the end.
        linear_acc_start: accuracy of the linear domain classifier before training, in [0, 1].
        linear_acc: the same at the end.
        discriminator_acc: mean accuracy of the method's own discriminator over the tested epoch; None without one.
        lambda_end: factor of the reversed gradient then; None without one.
        gradient_norms: term -> mean norm of its gradient at the features, over the epochs up to the tested one.
        source_score: accuracy on the source's validation set, or what takes its place where there are no classes.
        best_source_score: the highest that it was at an earlier epoch or this one.
        scored: samples of each domain that the linear classifier is scored on.
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


def reading(health: Health) -> str:
    """Say what the numbers mean, by fixed rules.

    Without adaptation: the shift. Otherwise, joined by semicolons,

    1. of the adversary: it has collapsed (accuracy up to .55, though a linear classifier reaches .75), or it wins
       (both .95 and more);
    2. else of the A-distance: above 1 the domains are separable, and came closer, moved apart or did neither (a change
       of .3 counts); up to 1 they are aligned, or were hardly apart;
    3. of the source: its validation accuracy fell by more than .05, or, if the domains are aligned, where it stayed;
    4. of the gradients at the features: a term's is ten times the task's and more, or, while the domains are
       separable, a hundredth and less.

    Args:
        health: what was measured; what is None or missing is passed over.

    Returns:
        One line without an end.
    """
    if not health.adapts:
        said = [_shift(health)]
    else:
        said = [_adversary(health) or _effect(health), _source(health), *_gradients(health)]
    if health.scored is not None and health.scored < _FEW:
        said.append(f"measured on {health.scored} samples of each domain only: uncertain")
    return "; ".join(filter(None, said)) or "nothing was measured"


def _shift(health: Health) -> str:
    if health.a_distance is None:
        return ""
    told = "" if health.linear_acc is None else f" (accuracy of a linear domain classifier: {_of(health.linear_acc)})"
    return f"without adaptation the domains' A-distance is {_change(health)}{told}"


def _adversary(health: Health) -> str:
    own, linear = health.discriminator_acc, health.linear_acc
    if own is None or linear is None:
        return ""
    if own <= _COLLAPSED and linear >= _TELLS:
        return (
            f"the discriminator has collapsed (accuracy {_of(own)}) although a linear classifier tells the domains "
            f"apart ({_of(linear)}): the adversary does nothing"
        )
    if own >= _WINS and linear >= _WINS:
        return (
            f"the discriminator wins (accuracy {_of(own)}, A-distance {_change(health)}): the features do not follow; "
            "raise lambda, or make the discriminator weaker"
        )
    return ""


def _effect(health: Health) -> str:
    if health.a_distance is None:
        return ""
    change = f"A-distance {_change(health)}"
    if health.a_distance <= _APART:
        if health.a_distance_start is not None and health.a_distance_start <= _APART:
            return f"the domains were hardly apart before training, nor are they now: {change}"
        return f"aligned: {change}"
    if health.a_distance_start is None:
        return f"the domains are separable ({change})"
    gained = health.a_distance_start - health.a_distance
    if gained >= _MOVED:
        return f"the domains came closer but are still separable ({change})"
    if gained <= -_MOVED:
        return f"the domains moved apart ({change}): alignment does not hold against the task"
    return f"the domains are still separable ({change}): alignment had little effect on that"


def _source(health: Health) -> str:
    if health.source_score is None:
        return ""
    best = health.source_score if health.best_source_score is None else health.best_source_score
    if best - health.source_score > _LOST:
        return f"source validation fell from {_of(best)} to {_of(health.source_score)}: over-alignment"
    aligned = health.a_distance is not None and health.a_distance <= _APART
    return f"source validation stayed at {_of(health.source_score)}" if aligned else ""


def _gradients(health: Health) -> list[str]:
    task = health.gradient_norms.get("task_loss", 0.0)
    if task <= 0:
        return []
    apart = health.a_distance is not None and health.a_distance > _APART
    said = []
    for name, norm in health.gradient_norms.items():
        ratio, term = norm / task, name.replace("_", " ")
        if name == "task_loss":
            continue
        if ratio >= _LOUD:
            said.append(f"the gradient of the {term} is {ratio:.0f} times the task's: lower its weight")
        elif apart and 0 < ratio <= _FAINT:
            said.append(f"the gradient of the {term} is {ratio:.1g} of the task's: it hardly acts, raise its weight")
    return said


def _change(health: Health) -> str:
    start = "" if health.a_distance_start is None else f"{health.a_distance_start:.2f} -> "
    return f"{start}{health.a_distance:.2f}"


def _of(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")
