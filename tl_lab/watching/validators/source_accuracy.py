"""The main metric on the source's validation part."""

from tl_lab.problems import Problem, SingleLabel
from tl_lab.watching.validators.base import Validator

__all__ = ["SourceAccuracy"]


class SourceAccuracy(Validator):
    """Highest accuracy on the source's validation part.

    For problems without classes, the score is their main metric (mean AUROC, R^2). It ignores the target. It cannot
    rank epochs that classify the source perfectly; the first of them is selected.
    """

    metric = f"val/source/{SingleLabel.monitor}"

    def name_metric(self, problem: Problem) -> None:
        """Use the problem's main metric."""
        self.metric = f"val/source/{problem.monitor}"
