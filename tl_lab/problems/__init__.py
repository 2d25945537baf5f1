"""What is predicted: one file a problem. A data module names its problem; nothing else knows losses or metrics."""

from tl_lab.problems.base import Criterion, Prediction, Problem
from tl_lab.problems.multi_label import MultiLabel
from tl_lab.problems.regression import Regression
from tl_lab.problems.single_label import SingleLabel

__all__ = [
    "ALL",
    "PROBLEMS",
    "Criterion",
    "MultiLabel",
    "Prediction",
    "Problem",
    "Regression",
    "SingleLabel",
    "restore",
]

PROBLEMS: dict[str, type[Problem]] = {kind.name: kind for kind in (SingleLabel, MultiLabel, Regression)}
"""Every problem by its name."""
ALL = frozenset(PROBLEMS)
"""The names of all problems, for methods that take any."""


def restore(state: dict[str, object]) -> Problem:
    """Build a problem from what a checkpoint keeps of it (see :meth:`Problem.state`).

    Raises:
        ValueError: there is no problem of that name.
    """
    name = str(state["name"])
    if name not in PROBLEMS:
        raise ValueError(f"there is no problem {name!r}; valid: {', '.join(PROBLEMS)}")
    return PROBLEMS[name].from_state(state)
