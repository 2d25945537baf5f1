"""Lists of the problems in this package, and the restoration of a problem from a checkpoint."""

from collections.abc import Mapping
from typing import Any

from tl_lab.problems.base import Problem, by_name
from tl_lab.problems.findings import Findings
from tl_lab.problems.multi_label import MultiLabel
from tl_lab.problems.regression import Regression
from tl_lab.problems.sequence import Sequence
from tl_lab.problems.several import Several
from tl_lab.problems.single_label import SingleLabel
from tl_lab.problems.spans import Spans
from tl_lab.problems.transcript import Transcript

__all__ = ["ALL", "OF_PLACES", "PROBLEMS", "SEVERAL", "restore"]

PROBLEMS: dict[str, type[Problem]] = {kind.name: kind for kind in (SingleLabel, MultiLabel, Regression)}
"""The problems of a single task with one output vector per sample, by name."""
OF_PLACES: dict[str, type[Problem]] = {kind.name: kind for kind in (Sequence, Spans, Transcript)}
"""The problems with outputs for each position of a sample, by name; each method declares whether it supports them."""
ALL = frozenset(PROBLEMS)
"""Names of the problems with one output vector per sample; methods that support all of them also support those of
other packages (see :meth:`Problem.fits`)."""
SEVERAL = frozenset({Several.name})
"""Name of the problem that combines several tasks."""


def restore(state: Mapping[str, Any]) -> Problem:
    """Build a problem from its state in a checkpoint (see :meth:`Problem.state`).

    Raises:
        ValueError: no imported module defines a problem of that name.

    Examples:
        >>> restore(SingleLabel(["cat", "dog"]).state()).output_names
        ['cat', 'dog']
    """
    return (Findings if state.get("unknown") else by_name(str(state["name"]))).from_state(state)
