"""Training from random weights."""

from tl_lab.problems import ALL, OF_PLACES
from tl_lab.strategies.base import Strategy

__all__ = ["FromScratch"]


class FromScratch(Strategy):
    """Train every layer from its random initialisation: the baseline that measures the gain from transfer.

    Pretrained weights of the backbone are ignored, so that one sweep can compare this strategy with transfer.
    """

    problems = ALL | OF_PLACES.keys()
    transfers = False
    takes_adapter = False
