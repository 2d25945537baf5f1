"""How metrics are displayed: words, unit, format and direction. Problems register their metrics here.

This module does not import torch.
"""

import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tl_lab.texts import printable

__all__ = ["Kind", "Scores", "kinds", "leading", "learn", "register", "share", "written"]

_UNBOUNDED = (-math.inf, math.inf)
_DIGITS = re.compile(r"z?\.\d{1,2}[efg]")
_LONGEST = 200  # largest number of characters of a name or sentence that is read from a file


class Kind(NamedTuple):
    """Properties of a metric, independent of the data.

    Attributes:
        words: displayed name; empty to use the words of the metric's own name.
        share: whether it is a share in [0, 1], displayed in per cent.
        digits: format of the value; for a share, of the value in per cent.
        higher: whether larger values are better.
        bounds: lowest and highest possible stored value.
        score: whether it measures the quality of predictions; scores are the columns of a run's table, in the
            order in which problems list them.
        refines: name of the metric that it nearly equals if classes are balanced.
    """

    words: str = ""
    share: bool = False
    digits: str = "z.4g"
    higher: bool = True
    bounds: tuple[float, float] = _UNBOUNDED
    score: bool = True
    refines: str = ""


class Scores(NamedTuple):
    """The metrics of a problem.

    Attributes:
        main: name of the main metric.
        metrics: kind of each metric by name, in the order of columns.
        units: a sentence about their units; empty if none is needed.
    """

    main: str
    metrics: Mapping[str, Kind]
    units: str = ""


def share(words: str = "", score: bool = True, refines: str = "") -> Kind:
    """Return the kind of a share in [0, 1], displayed in per cent with one decimal."""
    return Kind(words, True, "z.1f", True, (0.0, 1.0), score, refines)


_GENERAL: dict[str, Kind] = {
    "ap": share("average precision", score=False),
    "f1": share(score=False),
    "precision": share(score=False),
    "recall": share(score=False),
    "bwt": Kind(share=True, digits="z.1f", bounds=(-1.0, 1.0), score=False),
    "fwt": Kind(share=True, digits="z.1f", bounds=(-1.0, 1.0), score=False),
    "forgetting": Kind(share=True, digits="z.1f", higher=False, bounds=(-1.0, 1.0), score=False),
    "loss": Kind(higher=False, score=False),
    "lr": Kind("learning rate", score=False),
}
"""Metrics of training, of streams and of single classes, which do not belong to a problem."""
_STATED: dict[str, Scores] = {}  # registered by problems in this process
_READ: dict[str, Scores] = {}  # read from results of runs whose problems are not available in this process


def register(problem: str, scores: Scores) -> None:
    """Make the metrics of a problem known to tables, figures and reports.

    Args:
        problem: name of the problem; metrics already registered under this name are replaced.
        scores: its metrics.

    Raises:
        ValueError: another problem has a metric of the same name but of another kind.
    """
    others = {name: one for name, one in _STATED.items() if name != problem}
    for name, kind in scores.metrics.items():
        owner = next((other for other, one in others.items() if one.metrics.get(name, kind) != kind), None)
        if owner is not None or _GENERAL.get(name, kind) != kind:
            raise ValueError(
                f"the problem {problem!r} displays the metric {name!r} differently from {owner or 'all runs'!r}: "
                "choose another name for the metric"
            )
    _STATED[problem] = scores
    _merged.cache_clear()


def kinds() -> Mapping[str, Kind]:
    """Return the kinds of all known metrics in the order of tables, main metrics first."""
    return _merged()[0]


def leading() -> Mapping[str, str]:
    """Return the main metric of each problem with the sentence about the units of that problem's metrics."""
    return _merged()[1]


def written(scores: Scores) -> dict[str, Any]:
    """Convert the metrics of a problem to plain values for ``results.json``; :func:`learn` reads them."""
    default = Kind()._asdict()
    metrics = {
        name: {field: value for field, value in kind._asdict().items() if value != default[field]}
        for name, kind in scores.metrics.items()
    }
    return {"main": scores.main, "metrics": metrics, "units": scores.units}


def learn(problem: Any) -> None:
    """Add the metrics that a run's results describe in the field ``problem``.

    Runs record the metrics of problems from other packages, so that reports do not need these packages. Metrics that
    are already known do not change, and invalid values are ignored.

    Args:
        problem: the field as read from the file.
    """
    found = problem.get("scores") if isinstance(problem, dict) else None
    for name, stated in found.items() if isinstance(found, dict) else ():
        if name not in _STATED and name not in _READ and (scores := _read(stated)) is not None:
            _READ[name] = scores
            _merged.cache_clear()


@functools.cache
def _merged() -> tuple[dict[str, Kind], dict[str, str]]:
    """Merge all known metrics; of several definitions of a metric, the first is used."""
    every = [*_STATED.values(), *(scores for name, scores in _READ.items() if name not in _STATED)]
    units: dict[str, str] = {}
    known: dict[str, Kind] = {}
    for scores in every:
        units.setdefault(scores.main, scores.units)
        for name, kind in {scores.main: Kind(), **scores.metrics}.items():
            known.setdefault(name, kind)
    others = _in_order([name for name in scores.metrics if name not in units] for scores in every)
    return {**{name: known[name] for name in [*units, *others]}, **_GENERAL}, units


def _in_order(lists: Iterable[Sequence[str]]) -> list[str]:
    """Merge lists such that the names in each list keep their order."""
    order: list[str] = []
    for names in lists:
        place = next((order.index(name) for name in names if name in order), len(order))
        for name in names:
            if name in order:
                place = order.index(name)
            else:
                order.insert(place, name)
            place += 1
    return order


def _read(stated: Any) -> Scores | None:
    """Read the metrics of one problem; None if a value is invalid."""
    try:
        metrics = {_word(name): _kind(fields) for name, fields in stated["metrics"].items()}
        return Scores(_word(stated["main"]), metrics, _word(stated.get("units", "")))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _kind(fields: Mapping[str, Any]) -> Kind:
    kind = Kind(**fields)
    low, high = kind.bounds
    bounds = (-math.inf if low is None else float(low), math.inf if high is None else float(high))
    if not _DIGITS.fullmatch(kind.digits) or not all(
        isinstance(flag, bool) for flag in (kind.share, kind.higher, kind.score)
    ):
        raise ValueError(kind)
    return kind._replace(words=_word(kind.words), refines=_word(kind.refines), bounds=bounds)


def _word(text: Any) -> str:
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise ValueError(text)
    return printable(text)
