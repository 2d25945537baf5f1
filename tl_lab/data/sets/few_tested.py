"""Data of which a part of the test samples can be scored, where each takes long."""

from typing import Any

from tl_lab.data.base import DataModule
from tl_lab.data.names import SetName
from tl_lab.data.samples import Samples
from tl_lab.data.splits import few_in_strata
from tl_lab.errors import UserError
from tl_lab.options import Count

__all__ = ["FewTested"]


class FewTested(DataModule):
    """Leaves out test samples beyond a number.

    Args:
        test_count: samples of each test part that are scored, drawn by the seed; None for all.
        options: those of the class beside it.
    """

    def __init__(self, *, test_count: Count | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.test_count = test_count

    def _read(self) -> dict[str, Samples]:
        sets = super()._read()
        for name in [name for name in sets if SetName.parse(name).part == "test"] if self.test_count else []:
            test, count = sets[name], int(self.test_count or 0)
            if count > len(test):
                raise UserError(f"data.test_count={count} is more than the {len(test):,} samples of {name}")
            sets[name] = test.subset(few_in_strata(None, len(test), count, self.seed))
            self.notes.append(f"{name}: {count:,} of {len(test):,} samples")
        return sets
