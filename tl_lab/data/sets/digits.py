"""The handwritten digits distributed with scikit-learn."""

from typing import Any

from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.data.sets.printed_digits import handwritten_digits
from tl_lab.data.splits import check_shares, split_in_three
from tl_lab.options import Fraction

__all__ = ["Digits"]


class Digits(DataModule):
    """1,797 handwritten digits, ``(1, 8, 8)``, in a stratified split by the seed; for fast experiments.

    Args:
        val_share: share of all samples held out for validation, in (0, 1).
        test_share: share of all samples held out for test, in (0, 1 - val_share).
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    def __init__(self, *, val_share: Fraction = 0.1, test_share: Fraction = 0.2, **options: Any) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        self.val_share, self.test_share = val_share, test_share

    def read(self) -> dict[str, Samples]:
        """Load the digits and split them."""
        self.class_names = [str(digit) for digit in range(10)]
        return split_in_three(
            Samples(*handwritten_digits()), self.val_share, self.test_share, self.seed, self.class_names
        )
