"""The lower and upper bounds of adaptation: training on the source alone, and on the target's labels."""

from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.problems import ALL

__all__ = ["SourceOnly", "TargetOnly"]


class SourceOnly(DomainAdaptation):
    """The lower bound: training uses the source alone, as without adaptation; the data must have a target to score."""

    problems = ALL
    trains_on_target = False

    def facts(self) -> dict[str, str]:
        """Report that this is a bound."""
        return {"bound": "lower, trained on the source alone"}


class TargetOnly(DomainAdaptation):
    """The upper bound, an oracle: training uses the target's labelled training part and no source data."""

    problems = ALL
    trains_on_target = False
    oracle = True

    def facts(self) -> dict[str, str]:
        """Report that this is an oracle."""
        return {"oracle": "trained on the target's labels, which adaptation methods may not use"}
