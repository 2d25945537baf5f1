"""What ties two domains together: one file a method."""

from tl_lab.domain_adaptation.base import Adaptation, DomainAdaptation, DomainOutput
from tl_lab.domain_adaptation.dann import DANN
from tl_lab.domain_adaptation.none import NoAdaptation

__all__ = ["DANN", "Adaptation", "DomainAdaptation", "DomainOutput", "NoAdaptation"]
