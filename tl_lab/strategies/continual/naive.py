"""Sequential fine-tuning without any measure against forgetting."""

from tl_lab.problems import ALL
from tl_lab.strategies.continual.base import ContinualStrategy

__all__ = ["Naive"]


class Naive(ContinualStrategy):
    """Train on each task in turn: the lower bound of methods against forgetting."""

    problems = ALL
