"""The bounds between which an adaptation is expected: the source alone, and the target's own labels."""

from tl_lab.domain_adaptation.base import DomainAdaptation

__all__ = ["SourceOnly", "TargetOnly"]


class SourceOnly(DomainAdaptation):
    """The lower bound: training sees the source alone, as with no adaptation; it asks for a pair to be scored on."""

    trains_on_target = False

    def facts(self) -> dict[str, str]:
        """Say that it is a bound."""
        return {"bound": "lower, trained on the source alone"}


class TargetOnly(DomainAdaptation):
    """The upper bound, an oracle: training sees the target's labelled training part and nothing of the source."""

    trains_on_target = False
    oracle = True

    def facts(self) -> dict[str, str]:
        """Say that it is an oracle."""
        return {"oracle": "trained on the target's labels, which no adaptation may see"}
