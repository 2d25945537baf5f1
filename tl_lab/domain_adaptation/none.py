"""No adaptation: the lower bound that every method is compared with."""

from tl_lab.domain_adaptation.base import DomainAdaptation

__all__ = ["NoAdaptation"]


class NoAdaptation(DomainAdaptation):
    """Training sees the source alone; every hook does nothing."""

    needs_target = False
    trains_on_target = False
