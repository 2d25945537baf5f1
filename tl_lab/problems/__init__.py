"""What is predicted: one file a problem. A data module names its problem; nothing else knows losses or metrics."""

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
"""Every problem of one task whose samples have one vector of outputs each, by its name."""
OF_PLACES: dict[str, type[Problem]] = {kind.name: kind for kind in (Sequence, Spans, Transcript)}
"""Every problem whose samples have outputs for each of their places, by its name; methods say whether they take it."""
ALL = frozenset(PROBLEMS)
"""The names of the first kind, for methods that take any of them."""
SEVERAL = frozenset({Several.name})
"""The name of several tasks at once."""


def restore(state: dict[str, object]) -> Problem:
    """Build a problem from what a checkpoint keeps of it (see :meth:`Problem.state`).

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
    return known[name].from_state(state)
