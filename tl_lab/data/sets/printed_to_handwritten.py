"""A built-in domain pair: digits printed in fonts, and handwritten digits."""

from typing import Any

from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.sets.printed_digits import handwritten_digits, render_printed_digits
from tl_lab.data.splits import hold_out, random_split
from tl_lab.options import Count, Fraction
from tl_lab.randomness import derive_seed

__all__ = ["PrintedToHandwritten"]


class PrintedToHandwritten(DomainPair):
    """Digits printed in matplotlib's fonts (source) and scikit-learn's 1,797 handwritten digits (target).

    The target is split at random by the seed, independent of labels, into a test part that is used only for the final
    score, and a training part without labels.

    Args:
        source_count: number of printed digits for training and validation.
        source_test_count: number of further printed digits, for the source's test score.
        val_share: share of ``source_count`` held out for validation, in (0, 1).
        target_test_count: number of handwritten digits for the final score, in [1, 1796].
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    def __init__(
        self,
        *,
        source_count: Count = 8000,
        source_test_count: Count = 1000,
        val_share: Fraction = 0.1,
        target_test_count: Count = 600,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.source_count, self.source_test_count = source_count, source_test_count
        self.val_share, self.target_test_count = val_share, target_test_count

    def read(self) -> dict[str, Samples]:
        """Render the source, load the target, and split both."""
        self.class_names = [str(digit) for digit in range(10)]
        x, y, _ = render_printed_digits(self.source_count, self.seed)
        train, held_out = hold_out(y, {"val": self.val_share}, self.seed, self.class_names)
        test_x, test_y, _ = render_printed_digits(self.source_test_count, derive_seed(self.seed, "source/test"))
        source, target = Samples(x, y), Samples(*handwritten_digits())
        unlabelled, test = random_split(len(target), self.target_test_count, self.seed, "target/test")
        return {
            "source/train": source.subset(train),
            "source/val": source.subset(held_out["val"]),
            "source/test": Samples(test_x, test_y),
            "target/train": target.subset(unlabelled),
            "target/test": target.subset(test),
        }
