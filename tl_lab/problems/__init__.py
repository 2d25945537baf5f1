"""Prediction problems, one file each. A data module names its problem, which defines the losses and metrics.

The classes need torch and are imported when they are used; :mod:`tl_lab.problems.metrics` does not need it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_lab.problems.base import Criterion, Prediction, Problem
    from tl_lab.problems.findings import Findings
    from tl_lab.problems.known import ALL, OF_PLACES, PROBLEMS, SEVERAL, restore
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

_BASE = ("Criterion", "Prediction", "Problem")
_KNOWN = ("ALL", "OF_PLACES", "PROBLEMS", "SEVERAL", "restore")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    of_problem = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    home = "base" if name in _BASE else "known" if name in _KNOWN else of_problem
    return getattr(import_module(f"{__name__}.{home}"), name)
