"""Texts from a table of the user."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.inputs.tokenisers import Text
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.columns import (
    Columns,
    cell_of,
    check_columns,
    labelled_rows,
    names_in,
    problem_of,
    truth_of,
)
from tl_lab.data.sets.roles import Roles, RowSplit, Shares
from tl_lab.data.sets.table_files import ENDINGS, parsing, read_table, refuse_empty
from tl_lab.data.sets.table_stream import IrregularTable, stored_table
from tl_lab.data.sets.text import OfTexts, TextSet
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.problems import Problem

__all__ = ["TableOfTexts", "TextTable", "texts_and_others", "texts_of"]

_WHOLE = 200 * 2**20  # bytes of the largest table that is read as a whole; parsing takes about ten times the memory


class TableOfTexts(OfTexts):
    """Base class of data that are read from the rows of a table of texts.

    Args:
        options: arguments of the other base class.
    """

    place_options = ("path",)
    unlabelled: Literal["stop", "skip"] | None = None
    """What to do with rows without a label; None if all rows need one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Return the problem: classification, multi-label classification or regression."""
        return problem_of(node)

    def take(
        self,
        path: str | None,
        text_column: str | Sequence[str],
        label_column: Columns,
        val_share: float,
        test_share: float,
        encoding: str,
        predict: str,
        roles: Roles,
    ) -> None:
        """Check and store the options for reading the table.

        Raises:
            UserError: an option is missing or out of range.
        """
        if path is None:
            raise UserError("data.path is not set: give the table, a file that ends in " + " or ".join(ENDINGS))
        columns = [text_column] if isinstance(text_column, str) else [*text_column]
        if len(columns) not in (1, 2):
            raise UserError(f"data.text_column must be one column, or two for pairs of texts, not {len(columns)}")
        self.shares, self.column_values = Shares(val_share, test_share, self.seed), dict[str, list[str]]()
        self.path, self.text_columns, self.label_columns = path, columns, names_in(label_column)
        self.encoding, self.roles = encoding, roles
        self.problem_kind = self.problem_for({"predict": predict, "label_column": label_column})
        self.problem = self.problem_kind(())

    @property
    def reading(self) -> dict[str, Any]:
        """Return the columns with the texts and with the labels, and the encoding."""
        columns = {"text_column": self.text_columns, "label_column": self.label_columns[0]}
        return {**columns, "encoding": self.encoding}

    def rows(self, *further: tuple[str, Sequence[str]]) -> tuple[Samples, pd.DataFrame, Path]:
        """Read the table.

        Args:
            further: pairs of an option that names further columns, and these columns.

        Returns:
            Texts with their labels, groups, domains and times; a table of the further columns; and the path.

        Raises:
            UserError: the file, a column or a label is missing or damaged.
        """
        path = next((place for place in places_of(self.path) if place.is_file()), None)
        if path is None:
            raise UserError(f"data.path: there is no file {' or '.join(map(str, places_of(self.path)))}")
        others = [("label_column", self.label_columns), *self.roles.named, *further]
        texts, table = texts_and_others(self, path, self.encoding, self.text_columns, others)
        rows = self.unlabelled and labelled_rows(table, self.label_columns, path, self.unlabelled, self.notes)
        if rows:
            texts, table = texts.subset(torch.tensor(rows)), table.iloc[rows]  # the index counts the file's rows
        self.class_names, y = truth_of(table, self.label_columns, self.problem_kind, path)
        columns, self.column_values = self.roles.read(table, path)
        self.contents = [Samples(texts, y).fingerprint(), *self.roles.content(columns)]
        return Samples(texts, y, columns=columns), table, path

    @property
    def stratified_by(self) -> list[str] | None:
        """Return the names of the classes by which a random split is stratified; None if there are no classes."""
        return self.class_names if self.problem_kind.numbers_outputs else None


class TextTable(TableOfTexts, TextSet):
    """A table (csv, tsv, jsonl or parquet) with one or two texts and a class or a number in each row.

    Args:
        path: path of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        text_column: name of the column with the text; a list of two columns for pairs of texts.
        label_column: name of the column with the class or the number; or a list of columns with numbers, or with 0 and
            1 for multi-label data.
        group_column: name of the column with the group of each sample, or a list of columns whose cells are combined;
            None if there are no groups.
        domain_column: likewise with the domain of each sample.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day); None if there are no
            times.
        predict: ``classes`` or ``numbers``.
        split: ``random``, stratified by class; ``group``: at random, with all rows of a group in one part; or
            ``time``: the earliest rows are for training, the latest for test.
        val_share: share of all rows for validation.
        test_share: share of all rows for test.
        unlabelled: what to do with rows without a label: ``stop``, or ``skip`` them and report how many.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.sets.text.TextSet`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        text_column: str | Sequence[str] = "text",
        label_column: str | Sequence[str] = "label",
        group_column: str | Sequence[str] | None = None,
        domain_column: str | Sequence[str] | None = None,
        time_column: str | Sequence[str] | None = None,
        predict: Literal["classes", "numbers"] = "classes",
        split: RowSplit = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        unlabelled: Literal["stop", "skip"] = "stop",
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.unlabelled = unlabelled
        roles = Roles(group_column, domain_column, time_column, split)
        self.take(path, text_column, label_column, val_share, test_share, encoding, predict, roles)

    def read(self) -> dict[str, Samples]:
        """Read the table, and split its rows."""
        samples, _, _ = self.rows()
        return self.roles.parts(samples, self.shares, self.stratified_by)


def texts_and_others(
    data: DataModule, path: Path, encoding: str, names: Sequence[str], others: Sequence[tuple[str, Sequence[str]]]
) -> tuple[Texts, pd.DataFrame]:
    """Read the texts and further columns of a table; a large table is read part by part.

    Args:
        data: data module with the option ``lazy``; its ``notes`` report a large table that must be read into memory.
        path: path of the table.
        encoding: encoding of a text file.
        names: name of the column with texts, or names of the two columns of pairs.
        others: pairs of an option that names further columns, and these columns.

    Returns:
        The texts, and a table of the further columns.

    Raises:
        UserError: the table is damaged, a column is missing, or a text is empty.
    """
    large = data.lazy is True or (data.lazy == "auto" and _bytes_in(path) > _WHOLE)
    if large and path.suffix.lower() in ENDINGS:
        try:
            return stored_table(path, encoding, names, others)
        except IrregularTable:
            data.notes.append(f"{path.name} is read into memory, because some of its cells are not plain texts")
    table = read_table(path, encoding)
    return Texts(texts_of(table, names, path)), table


def _bytes_in(path: Path) -> int:
    """Return the size of a table in bytes, for a parquet file that of its uncompressed columns."""
    if path.suffix.lower() == ".parquet":
        with parsing(path, ""):
            from pyarrow.parquet import read_metadata

            about = read_metadata(path)
            return sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    return path.stat().st_size


def texts_of(table: pd.DataFrame, names: Sequence[str], path: Path) -> list[Text]:
    """Return each row's text, or its pair of texts.

    Args:
        table: the table, as returned by :func:`~tl_lab.data.sets.table_files.read_table`.
        names: name of the column with texts, or names of the two columns of pairs.
        path: path of the table, for messages.

    Raises:
        UserError: a column is missing, or a text is empty.
    """
    check_columns(table, "text_column", names, path)
    columns = [table[name].map(cell_of).tolist() for name in names]
    for name, texts in zip(names, columns, strict=True):
        refuse_empty([row for row, text in enumerate(texts, 1) if not text.strip()], len(texts), name, path)
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
