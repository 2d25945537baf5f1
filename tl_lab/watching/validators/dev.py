"""Deep embedded validation."""

from typing import Literal

from tl_lab.errors import UserError
from tl_lab.functional import controlled_risk
from tl_lab.options import Positive, Several
from tl_lab.watching.validators.base import Evidence, Validator, check_regularisation, check_samples

__all__ = ["DeepEmbeddedValidation"]


class DeepEmbeddedValidation(Validator):
    """Source validation losses, weighted by the density ratio of target and source (DEV).

    The density ratio is estimated by a domain classifier on the features of both training parts; the weights serve as a
    control variate of the weighted risk (see :func:`tl_lab.functional.controlled_risk`). The classifier is a logistic
    regression, which has a unique solution; that of the paper has a hidden layer.

    Args:
        loss: ``cross_entropy`` (the problem's own loss) or ``zero_one`` (errors, which cannot rank epochs that classify
            the source's validation part perfectly).
        samples: largest number of training samples of each domain to which the domain classifier is fitted, >= 2.
        regularisation: regularisation strength of the domain classifier, > 0.

    Raises:
        UserError: an option is out of its range.

    References:
        You, Wang, Long and Jordan, Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation, ICML
        2019, algorithm 2.
    """

    metric = "val/dev"
    mode = "min"
    measures = True

    def __init__(
        self,
        loss: Literal["cross_entropy", "zero_one"] = "cross_entropy",
        samples: Several = 2000,
        regularisation: Positive = 1.0,
    ) -> None:
        if loss not in ("cross_entropy", "zero_one"):
            raise UserError(f"validator.dev.loss must be 'cross_entropy' or 'zero_one', not {loss!r}")
        if loss == "zero_one":
            self.problems = frozenset({"single_label"})
        self.loss, self.samples = loss, check_samples("dev", samples)
        self.regularisation = check_regularisation("dev", regularisation)

    def score(self, evidence: Evidence) -> float:
        """Estimate the risk on the target."""
        losses = evidence.losses if self.loss == "cross_entropy" else evidence.wrong
        assert losses is not None, "errors are counted for classes only"
        return controlled_risk(losses, evidence.density_ratios(self.samples, self.regularisation))
