"""Accuracy on the source's validation part."""

from tl_lab.watching.validators.base import Validator

__all__ = ["SourceAccuracy"]


class SourceAccuracy(Validator):
    """Trust the source: the epoch with the highest accuracy on its validation part.

    It knows nothing of the target. Where the source is learned to the last sample it cannot tell epochs apart, and
    the first of the best counts.
    """

    metric = "val/source/acc"
