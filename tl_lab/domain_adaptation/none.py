"""No adaptation: the lower bound with which every method is compared."""

from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.problems import ALL, OF_PLACES, SEVERAL

__all__ = ["NoAdaptation"]


class NoAdaptation(DomainAdaptation):
    """Training uses the source alone; every hook does nothing."""

    problems = ALL | SEVERAL | OF_PLACES.keys()
    needs_target = False
    trains_on_target = False
