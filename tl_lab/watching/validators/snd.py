"""Soft neighbourhood density on the target."""

from tl_lab.watching.validators.base import Validator

__all__ = ["SoftNeighbourhoodDensity"]


class SoftNeighbourhoodDensity(Validator):
    """Highest density of close neighbours among the predictions on the target's training part (compact clusters).

    Computed by :func:`tl_lab.functional.soft_neighbourhood_density` in every validation, at the temperature 0.05 of
    the paper, on at most 2,000 samples.

    References:
        Saito et al., Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft Neighborhood
        Density, ICCV 2021, equations 1 to 3.
    """

    problems = frozenset({"single_label"})
    metric = "val/target/snd"
