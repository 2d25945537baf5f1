"""Information maximisation on the target."""

from tl_lab.watching.validators.base import Validator

__all__ = ["InformationMaximisation"]


class InformationMaximisation(Validator):
    """Highest H(mean p) - mean H(p) on the target's training part, which rewards confident and balanced predictions.

    It assumes that classes are about equally frequent. Computed by
    :func:`tl_lab.functional.information_maximisation` in every validation.

    References:
        Shi and Sha, Information-Theoretical Learning of Discriminative Clusters, ICML 2012, equation 6; as a
        validator: Musgrave, Belongie and Lim, Three New Validators and a Large-Scale Benchmark Ranking for
        Unsupervised Domain Adaptation, 2022.
    """

    problems = frozenset({"single_label"})
    metric = "val/target/info_max"
