"""Tables of the user with one row per sample, as a set or as a domain pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.sets.columns import labelled_rows, names_in
from tl_lab.data.sets.roles import Roles, RowSplit, Shares, domains_of, named_pair, paired
from tl_lab.data.sets.tables import OfTables
from tl_lab.errors import UserError
from tl_lab.options import Fraction

__all__ = ["OfTablePairs", "Table", "TablePair", "file_of"]


class Table(OfTables):
    """A table (csv, tsv, jsonl or parquet) with numbers and categories, and a class or a number to predict.

    Args:
        path: path of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        domain_column: name of the column with the domain of each row, or a list of columns whose values are combined;
            not used as input. None if there are no domains.
        split: ``random``, stratified by class; ``group``: at random, with all rows of a group in one part; or
            ``time``: the earliest rows are for training, the latest for test.
        val_share: share of all rows for validation.
        test_share: share of all rows for test.
        unlabelled: what to do with rows without a label: ``stop``, or ``skip`` them and report how many.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.sets.tables.OfTables`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        domain_column: str | Sequence[str] | None = None,
        split: RowSplit = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        unlabelled: Literal["stop", "skip"] = "stop",
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.roles = Roles(self.group_column, domain_column, self.time_column, split)
        self.shares = Shares(val_share, test_share, self.seed)
        self.path, self.domain_column, self.encoding = path, domain_column, encoding
        self.unlabelled = unlabelled

    def read(self) -> dict[str, Samples]:
        """Read the table, and split its rows."""
        place = file_of(self.path)
        table = self.table_at(place, self.encoding)
        rows = labelled_rows(table, names_in(self.label_column), place, self.unlabelled, self.notes)
        table = table if rows is None else table.iloc[rows]  # its index counts the file's rows, for messages
        samples = self.rows_of(table, place, self.domain_column)
        parts = self.roles.parts(samples, self.shares, self.stratified_by)
        return self.encoded(parts, table, place, self.domain_column)


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
        split: how each domain is split: ``random``, the source stratified by class; ``group``: at random, with all
            rows of a group in one part: groups of the source's training or test part are in the same part of the
            target, and those of its validation part are left out of the target; or ``time``: the earliest rows are for
            training, the latest for test.
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
        split: RowSplit = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.roles = Roles(self.group_column, time_column=self.time_column, split=split)
        self.shares = Shares(val_share, test_share, self.seed)
        self.domain_column, self.cut, self._named = domain_column, cut, named_pair(pair, source, target, cut)

    def paired_rows(self, table: pd.DataFrame, origin: Path) -> dict[str, Samples]:
        """Divide the rows into source and target, split each domain, and encode the inputs.

        Args:
            table: table with all rows.
            origin: description of the table, for messages.
        """
        samples = self.rows_of(table, origin, self.domain_column)
        domains = domains_of(table, self.domain_column, self.cut, origin)
        sets = paired(samples, domains, self._named, self.roles, self.shares, self.stratified_by, self.notes)
        return self.encoded(sets, table, origin, self.domain_column)


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
