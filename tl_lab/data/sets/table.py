"""Tables of the user with one row per sample, as a set or as a domain pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.sets.columns import names_in, times_of, together
from tl_lab.data.sets.pairs import name_pair
from tl_lab.data.sets.tables import OfTables, numbered
from tl_lab.data.sets.text_table import three_parts
from tl_lab.data.splits import check_shares, random_split, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.texts import counted

__all__ = ["OfTablePairs", "Table", "TablePair", "file_of", "in_time"]

_BEFORE, _AFTER = "before", "after"


class Table(OfTables):
    """A table (csv, tsv, jsonl or parquet) with numbers and categories, and a class or a number to predict.

    Args:
        path: path of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        domain_column: name of the column with the domain of each row, or a list of columns whose values are combined;
            not used as input. None if there are no domains.
        split: ``random``, stratified by class; or ``time``: the earliest rows are for training, the latest for
            test.
        val_share: share of all rows for validation.
        test_share: share of all rows for test.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.sets.tables.OfTables`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        domain_column: str | Sequence[str] | None = None,
        split: Literal["random", "time"] = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        if split == "time" and self.time_column is None:
            raise UserError("data.split=time requires the column with the time: set data.time_column")
        self.path, self.domain_column, self.split, self.encoding = path, domain_column, split, encoding
        self.val_share, self.test_share = val_share, test_share

    def read(self) -> dict[str, Samples]:
        """Read the table, and split its rows."""
        place = file_of(self.path)
        table = self.table_at(place, self.encoding)
        samples = self.rows_of(table, place, self.domain_column)
        if self.domain_column is not None:
            codes, self.column_values["domain"] = numbered(pd.Series(together(table, names_in(self.domain_column))))
            samples = Samples(samples.x, samples.y, columns={**samples.columns, "domain": codes})
        return self.encoded(self._parts(samples), table, place, self.domain_column)

    def _parts(self, samples: Samples) -> dict[str, Samples]:
        if self.split == "time":
            return in_time(samples, self.val_share, self.test_share)
        if self.problem_kind.numbers_outputs:
            return split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)
        return three_parts(samples, self.val_share, self.test_share, self.seed)


def file_of(path: str | None) -> Path:
    """Find the file in the option ``path``.

    Raises:
        UserError: the option is not set, or there is no such file.
    """
    if path is None:
        raise UserError("data.path is not set: give the table, a file that ends in .csv, .tsv, .jsonl or .parquet")
    found = next((place for place in places_of(path) if place.is_file()), None)
    if found is None:
        raise UserError(f"data.path: there is no file {' or '.join(map(str, places_of(path)))}")
    return found


def in_time(samples: Samples, val_share: float, test_share: float) -> dict[str, Samples]:
    """Split samples by their column ``time`` into training, validation and test, in chronological order.

    Samples with equal times stay in their order.

    Args:
        samples: samples with the column.
        val_share: share of all samples for validation.
        test_share: share of all samples for test.
    """
    order, count = samples.columns["time"].argsort(stable=True), len(samples)
    test = count - max(1, round(test_share * count))
    val = test - max(1, round(val_share * count))
    if val < 1:
        raise UserError(f"the table has {counted(count, 'row')}, too few for training, validation and test")
    return {
        "train": samples.subset(order[:val]),
        "val": samples.subset(order[val:test]),
        "test": samples.subset(order[test:]),
    }


class OfTablePairs(OfTables, DomainPair):
    """Base class of tables whose rows are divided into a source and a target.

    Args:
        domain_column: name of the column with the domain, or a list of columns whose values are combined, as in
            ``news-uk``; with ``cut``, a column of numbers or dates. It is not used as input.
        cut: share of the rows, in the order of ``domain_column``, that form the domain ``before``; the others form
            ``after``. None if the values of the column are the domains.
        pair: source and target in one option, ``a_to_b``; None to use the next two options.
        source: a domain or a list of domains; with ``cut``, None means ``before``.
        target: a domain; with ``cut``, None means ``after``.
        val_share: share of the source's rows for validation.
        test_share: share of each domain's rows for test.
        options: keyword arguments of :class:`~tl_lab.data.sets.tables.OfTables` and
            :class:`~tl_lab.data.scenarios.domain_pair.DomainPair`.
    """

    def __init__(
        self,
        *,
        domain_column: str | Sequence[str] = "domain",
        cut: Fraction | None = None,
        pair: str | None = None,
        source: str | Sequence[str] | None = None,
        target: str | None = None,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        if cut is not None and pair is None:
            source, target = source or _BEFORE, target or _AFTER
        self.domain_column, self.cut, self._named = domain_column, cut, (pair, source, target)
        self.val_share, self.test_share = val_share, test_share

    def paired_rows(self, table: pd.DataFrame, origin: Path) -> dict[str, Samples]:
        """Divide the rows into source and target, split each domain, and encode the inputs.

        Args:
            table: table with all rows.
            origin: description of the table, for messages.
        """
        samples = self.rows_of(table, origin, self.domain_column)
        domains = self._domains(table)
        sources, target = name_pair(*self._named, sorted(set(domains)))
        of_source = samples.subset(torch.tensor([one in sources for one in domains]).nonzero()[:, 0])
        of_target = samples.subset(torch.tensor([one == target for one in domains]).nonzero()[:, 0])
        if self.problem_kind.numbers_outputs:
            parts = split_in_three(of_source, self.val_share, self.test_share, self.seed, self.class_names)
        else:
            parts = three_parts(of_source, self.val_share, self.test_share, self.seed)
        count = len(of_target)
        if count < 2:
            raise UserError(
                f"data.target: the domain {target!r} has {counted(count, 'row')}, too few for training and test"
            )
        train, test = random_split(count, max(1, round(self.test_share * count)), self.seed, "target/test")
        sets = {f"source/{name}": part for name, part in parts.items()}
        sets |= {"target/train": of_target.subset(train), "target/test": of_target.subset(test)}
        return self.encoded(sets, table, origin, self.domain_column)

    def _domains(self, table: pd.DataFrame) -> list[str]:
        if self.cut is None:
            return together(table, names_in(self.domain_column))
        cells = together(table, names_in(self.domain_column), " ")
        order = times_of(cells, self.domain_column).argsort(stable=True).tolist()
        early = set(order[: max(1, round(self.cut * len(order)))])
        return [_BEFORE if row in early else _AFTER for row in range(len(cells))]


class TablePair(OfTablePairs):
    """A table as a pair of domains, which are defined by the values of a column, or by a threshold of them.

    Args:
        path: path of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`OfTablePairs`.
    """

    place_options = ("path",)

    def __init__(self, *, path: str | None = None, encoding: str = "utf-8", **options: Any) -> None:
        super().__init__(**options)
        self.path, self.encoding = path, encoding

    def read(self) -> dict[str, Samples]:
        """Read the table, and split each domain."""
        place = file_of(self.path)
        return self.paired_rows(self.table_at(place, self.encoding), place)
