"""Training from random weights."""

from tl_lab.problems import ALL, OF_PLACES
from tl_lab.strategies.base import Strategy

__all__ = ["FromScratch"]


class FromScratch(Strategy):
    """Every layer learns from where its random initialisation put it: the measure of what transfer brings.

    Weights that the backbone could start from are left aside: one sweep compares this with the ways of transfer.
    """

    problems = ALL | OF_PLACES.keys()
    transfers = False
    takes_adapter = False
