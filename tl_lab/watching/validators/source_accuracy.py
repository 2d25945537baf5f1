"""The score that orders methods, on the source's validation part."""

from tl_lab.problems import Problem, SingleLabel
from tl_lab.watching.validators.base import Validator

__all__ = ["SourceAccuracy"]


class SourceAccuracy(Validator):
    """Trust the source: the epoch with the highest accuracy on its validation part.

    Of problems without classes it is the metric that takes the accuracy's place (mean AUROC, R^2). It knows nothing of
    the target. Where the source is learned to the last sample it cannot tell epochs apart, and the first of the best
    counts.
    """

    metric = f"val/source/{SingleLabel.monitor}"

    def name_metric(self, problem: Problem) -> None:
        """Take the problem's own metric."""
        self.metric = f"val/source/{problem.monitor}"
