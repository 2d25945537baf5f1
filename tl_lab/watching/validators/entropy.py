"""Mean entropy of the predictions on the target."""

from tl_lab.watching.validators.base import Validator

__all__ = ["Entropy"]


class Entropy(Validator):
    """Lowest mean entropy of the predictions on the target's training part.

    A classifier that predicts a single class has low entropy, too. The score is computed by
    :func:`tl_lab.functional.mean_entropy` in every validation.

    References:
        Morerio, Cavazza and Murino, Minimal-Entropy Correlation Alignment for Unsupervised Deep Domain Adaptation,
        ICLR 2018, section 4.
    """

    problems = frozenset({"single_label"})
    metric = "val/target/entropy"
    mode = "min"
