"""Joint training on all tasks."""

from tl_lab.problems import ALL
from tl_lab.strategies.continual.base import ContinualStrategy

__all__ = ["Joint"]


class Joint(ContinualStrategy):
    """Train on all tasks together for the number of updates of the whole stream: the upper bound.

    Batches mix the tasks. There is one row of accuracies, hence no transfer or forgetting.
    """

    problems = ALL
    jointly = True
