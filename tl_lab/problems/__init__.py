"""Prediction problems, one file each. A data module names its problem, which defines the losses and metrics."""

from tl_lab.problems.base import Criterion, Prediction, Problem
from tl_lab.problems.findings import Findings
from tl_lab.problems.multi_label import MultiLabel
from tl_lab.problems.regression import Regression
from tl_lab.problems.sequence import Sequence
from tl_lab.problems.several import Several
from tl_lab.problems.single_label import SingleLabel
from tl_lab.problems.spans import Spans
from tl_lab.problems.transcript import Transcript

__all__ = [
    "ALL",
    "OF_PLACES",
    "PROBLEMS",
    "SEVERAL",
    "Criterion",
    "Findings",
    "MultiLabel",
    "Prediction",
    "Problem",
    "Regression",
    "Sequence",
    "Several",
    "SingleLabel",
    "Spans",
    "Transcript",
    "restore",
]

PROBLEMS: dict[str, type[Problem]] = {kind.name: kind for kind in (SingleLabel, MultiLabel, Regression)}
"""All problems of a single task with one output vector per sample, by name."""
OF_PLACES: dict[str, type[Problem]] = {kind.name: kind for kind in (Sequence, Spans, Transcript)}
"""All problems with outputs for each position of a sample, by name; each method declares whether it supports them."""
ALL = frozenset(PROBLEMS)
"""Names of the problems with one output vector per sample, for methods that support all of them."""
SEVERAL = frozenset({Several.name})
"""Name of the problem that combines several tasks."""


def restore(state: dict[str, object]) -> Problem:
    """Build a problem from its state in a checkpoint (see :meth:`Problem.state`).

    Raises:
        ValueError: there is no problem of that name.

    Example:
        >>> restore(SingleLabel(["cat", "dog"]).state()).output_names
        ['cat', 'dog']
    """
    name = str(state["name"])
    known: dict[str, type[Problem]] = {**PROBLEMS, **OF_PLACES, Several.name: Several}
    if name not in known:
        raise ValueError(f"there is no problem {name!r}; valid: {', '.join(known)}")
    kind = Findings if state.get("unknown") else known[name]
    return kind.from_state(state)
