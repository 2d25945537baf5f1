"""Fine-tuning on one task after the other, with nothing against forgetting."""

from tl_lab.strategies.continual.base import ContinualStrategy

__all__ = ["Naive"]


class Naive(ContinualStrategy):
    """Go on training on each task in turn: the lower bound that methods against forgetting are held against."""
