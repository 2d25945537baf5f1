"""Published tables: Adult, COMPAS and Elec2, each as a set and as a pair of domains."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from tl_lab.data.encodings import decoded
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.sets.roles import in_time
from tl_lab.data.sets.table import OfTablePairs
from tl_lab.data.sets.tables import OfTables
from tl_lab.data.splits import check_shares, hold_out, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Fraction

__all__ = ["Adult", "AdultPair", "Compas", "CompasPair", "Electricity", "ElectricityPair"]


class _Published(OfTables):
    """A table in the folder of data sets.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        options: arguments of the other base class.
    """

    title: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    place_options = ("root",)

    def __init__(self, *, root: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.root = root

    def places(self) -> list[Path]:
        """Return the paths of the files.

        Raises:
            UserError: a file is missing.
        """
        advice = f"put {' and '.join(self.files)} there"
        root = find_root(self.root, self.title, advice)
        for name in self.files:
            if not (root / name).is_file():
                raise missing(self.title, root / name, advice)
        return [root / name for name in self.files]

    def _csv(self, place: Path, **options: Any) -> pd.DataFrame:
        try:
            with decoded(place, "utf-8"):
                table = pd.read_csv(place, dtype=str, keep_default_na=False, skipinitialspace=True, **options)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{place} cannot be read as a table ({str(error).splitlines()[0]})") from error
        table.columns = [str(name).strip() for name in table.columns]
        return table


class _OfAdult(_Published):
    title, files = "Adult", ("adult/adult.data", "adult/adult.test")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def whole(self) -> tuple[pd.DataFrame, int]:
        """Return the rows of both files, and the number of rows of the first."""
        parts = [self._csv(place) for place in self.places()]
        table = pd.concat(parts, ignore_index=True)
        table["income"] = table.pop("Y").str.strip().str.removesuffix(".")  # labels of the test file end in a full stop
        return table, len(parts[0])


class Adult(_OfAdult):
    """Adult: whether a person earns more than 50,000 dollars a year; 32,561 training and 16,281 test rows of a census.

    The census is that of the United States of 1994.

    The column ``fnlwgt``, the number of people that a row represents, is not an input.

    Args:
        val_share: share of the training part for validation, in (0, 1).
        options: ``root`` and those of :class:`~tl_lab.data.sets.tables.OfTables`.

    References:
        B. Becker, R. Kohavi, "Adult", UCI Machine Learning Repository, 1996. https://doi.org/10.24432/C5XW20
    """

    def __init__(self, *, val_share: Fraction = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.val_share = val_share

    def read(self) -> dict[str, Samples]:
        """Read both parts, and hold out the validation set from the training part."""
        table, first = self.whole()
        samples = self.rows_of(table, self.places()[0])
        self.contents = [_content(table)]
        assert samples.y is not None
        kept, held_out = hold_out(samples.y[:first], {"val": self.val_share}, self.seed, self.class_names)
        parts = {"train": kept, "val": held_out["val"], "test": torch.arange(first, len(table))}
        sets = {name: samples.subset(index) for name, index in parts.items()}
        return self.encoded(sets, table, self.places()[0])


class AdultPair(_OfAdult, OfTablePairs):
    """Adult as a pair of domains: of all 48,842 rows, one group of people is the source and another the target.

    Args:
        options: ``root`` and those of :class:`~tl_lab.data.sets.table.OfTablePairs`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read both files, and split each domain."""
        table, _ = self.whole()
        self.contents = [_content(table)]
        return self.paired_rows(table, self.places()[0])


class _OfCompas(_Published):
    title, files = "COMPAS", ("compas/compas-scores-two-years.csv",)
    kept: ClassVar[tuple[str, ...]] = (
        "sex",
        "age",
        "race",
        "juv_fel_count",
        "juv_misd_count",
        "juv_other_count",
        "priors_count",
        "c_charge_degree",
        "compas_screening_date",
        "two_year_recid",
    )

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def whole(self) -> pd.DataFrame:
        """Read the columns that the published analyses use as inputs, and the published score."""
        (place,) = self.places()
        table = self._csv(place)
        if lacking := [name for name in (*self.kept, "decile_score") if name not in table.columns]:
            raise UserError(f"{place} has no column {lacking[0]!r}, so it is not the file of ProPublica's analysis")
        self.deciles = torch.tensor(table["decile_score"].astype("int64").to_numpy())
        chosen = table[list(self.kept)].copy()
        chosen["two_year_recid"] = chosen["two_year_recid"].map({"0": "no", "1": "yes"})
        return chosen


class Compas(_OfCompas):
    """COMPAS: whether a defendant is charged again within two years; 7,214 rows from Florida, 2013 and 2014.

    The defendants are from Broward County. The published score, 1 to 10, is the column ``decile`` of the samples.
    Neither the score nor the group is an input.

    Args:
        val_share: share of all rows for validation.
        test_share: share of all rows for test.
        options: ``root`` and those of :class:`~tl_lab.data.sets.tables.OfTables`.

    References:
        J. Angwin, J. Larson, S. Mattu, L. Kirchner, "Machine Bias", ProPublica 2016.
        https://github.com/propublica/compas-analysis
    """

    def __init__(self, *, val_share: Fraction = 0.1, test_share: Fraction = 0.2, **options: Any) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        self.val_share, self.test_share = val_share, test_share

    def read(self) -> dict[str, Samples]:
        """Read the file, and split its rows, stratified by class."""
        table = self.whole()
        (place,) = self.places()
        samples = self.rows_of(table, place)
        samples = Samples(samples.x, samples.y, columns={**samples.columns, "decile": self.deciles})
        self.contents = [_content(table)]
        sets = split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)
        return self.encoded(sets, table, place)


class CompasPair(_OfCompas, OfTablePairs):
    """COMPAS as a pair of domains: two groups of defendants.

    Args:
        options: ``root`` and those of :class:`~tl_lab.data.sets.table.OfTablePairs`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read the file, and split each domain."""
        table = self.whole()
        self.contents = [_content(table)]
        return self.paired_rows(table, self.places()[0])


class _OfElectricity(_Published):
    title, files = "Elec2", ("electricity/electricity-normalized.csv",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def whole(self) -> pd.DataFrame:
        """Read the file, whose rows are half an hour apart, in chronological order."""
        (place,) = self.places()
        table = self._csv(place)
        if "class" not in table.columns or len(table.columns) != 8:
            raise UserError(f"{place} is not the normalised Elec2: it has the columns {', '.join(table.columns)}")
        table.columns = ["day", *table.columns[1:]]
        table["class"] = table["class"].map({"0": "down", "1": "up"})
        table["row"] = np.arange(len(table))
        return table


class Electricity(_OfElectricity):
    """Elec2: whether the price of electricity rises; 45,312 half hours in New South Wales, 1996 to 1998.

    Args:
        split: ``time``: the earliest rows are for training, the latest for test; or ``random``.
        val_share: share of all rows for validation.
        test_share: share of all rows for test.
        options: ``root`` and those of :class:`~tl_lab.data.sets.tables.OfTables`.

    References:
        M. Harries, "Splice-2 Comparative Evaluation: Electricity Pricing", technical report, University of New South
        Wales, 1999.
    """

    def __init__(
        self,
        *,
        split: Literal["random", "time"] = "time",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        self.split, self.val_share, self.test_share = split, val_share, test_share

    def read(self) -> dict[str, Samples]:
        """Read the file, and split its rows."""
        table = self.whole()
        (place,) = self.places()
        samples = self.rows_of(table, place)
        self.contents = [_content(table)]
        if self.split == "time":
            sets = in_time(samples, self.val_share, self.test_share)
        else:
            sets = split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)
        return self.encoded(sets, table, place)


class ElectricityPair(_OfElectricity, OfTablePairs):
    """Elec2 as a pair of domains: before and after a point in time.

    Args:
        options: ``root`` and those of :class:`~tl_lab.data.sets.table.OfTablePairs`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read the file, and split each domain."""
        table = self.whole()
        self.contents = [_content(table)]
        return self.paired_rows(table, self.places()[0])


def _content(table: pd.DataFrame) -> str:
    """Return a hash of a table's cells, sixteen hexadecimal digits."""
    return f"{int(pd.util.hash_pandas_object(table, index=True).sum()) & (2**64 - 1):016x}"
