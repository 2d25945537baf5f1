"""All tasks at once."""

from tl_lab.strategies.continual.base import ContinualStrategy

__all__ = ["Joint"]


class Joint(ContinualStrategy):
    """Train on all tasks together, for as many updates as the stream would take: the upper bound.

    Every batch mixes the tasks. There is one row of accuracies, and so no transfer or forgetting.
    """

    jointly = True
