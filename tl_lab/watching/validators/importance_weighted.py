"""Importance-weighted validation."""

from tl_lab.functional import weighted_risk
from tl_lab.options import Positive, Several
from tl_lab.watching.validators.base import Evidence, Validator, check_regularisation, check_samples

__all__ = ["ImportanceWeightedValidation"]


class ImportanceWeightedValidation(Validator):
    """Source validation accuracy, weighted by the density ratio of target and source: 1 - weighted error.

    The density ratio is that of :class:`~tl_lab.watching.validators.dev.DeepEmbeddedValidation`: estimated on
    features, because raw images have too many dimensions, and anew in each validation.

    Args:
        normalise: divide by the sum of the weights, which gives an accuracy in [0, 1]; False divides by the number of
            weights, as in the paper, and the result may leave that range if their mean is not 1.
        samples: largest number of training samples of each domain to which the domain classifier is fitted, >= 2.
        regularisation: regularisation strength of the domain classifier, > 0.

    Raises:
        UserError: an option is out of its range.

    References:
        Sugiyama, Krauledat and Mueller, Covariate Shift Adaptation by Importance Weighted Cross Validation, JMLR 8
        (2007), section 3.
    """

    problems = frozenset({"single_label"})
    metric = "val/importance_weighted_acc"
    measures = True

    def __init__(self, normalise: bool = True, samples: Several = 2000, regularisation: Positive = 1.0) -> None:
        self.normalise, self.samples = normalise, check_samples("importance_weighted", samples)
        self.regularisation = check_regularisation("importance_weighted", regularisation)

    def score(self, evidence: Evidence) -> float:
        """Estimate the accuracy on the target."""
        assert evidence.wrong is not None, "errors are counted for classes only"
        weights = evidence.density_ratios(self.samples, self.regularisation)
        return 1 - weighted_risk(evidence.wrong, weights, self.normalise)
