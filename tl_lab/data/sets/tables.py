"""Base class of sets and pairs of domains of tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tl_lab.config.fitting import override
from tl_lab.data.base import DataModule
from tl_lab.data.cache import file_hash
from tl_lab.data.inputs.table import MISSING, TableSpec, cells_of, column_kinds, learn_columns
from tl_lab.data.samples import Samples
from tl_lab.data.sets.columns import (
    Columns,
    check_columns,
    names_in,
    problem_of,
    truth_of,
)
from tl_lab.data.sets.roles import Roles
from tl_lab.data.sets.table_files import read_table
from tl_lab.data.sets.trees import tree_scores
from tl_lab.errors import UserError
from tl_lab.options import Count
from tl_lab.problems import Problem
from tl_lab.texts import counted, listed

__all__ = ["OfTables"]

_MANY_ROWS = 20  # in fewer rows, whole numbers of any kind are often unique
_FEW_NAMED = 12  # largest number of columns of a kind that are listed


class OfTables(DataModule):
    """Base class of sets and pairs of domains of tables.

    Columns are classified into numbers and categories by their content. The means and standard deviations of the
    numbers, and the categories, are taken from the training rows (for a pair, those of the source).

    Args:
        label_column: name of the column with the class or the number to predict; or a list of columns with numbers, or
            with 0 and 1 for multi-label data.
        group_column: name of the column with the group of each row, or a list of columns whose values are combined;
            None if there are no groups.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day), which is not an
            input; None if there are no times.
        use_group: whether the group is also an input.
        drop: names of columns that are not inputs.
        categorical: names of columns whose numbers are codes of categories.
        missing: cells that represent a missing value; None for the empty cell, ``?``, ``NA`` and similar cells.
        most_categories: largest number of categories in a column.
        predict: ``classes`` or ``numbers``.
        trees: whether to fit a tree ensemble of scikit-learn to the same training rows, and report its scores.
        options: arguments of the other base class.
    """

    modality = "table"

    def __init__(
        self,
        *,
        label_column: str | Sequence[str] = "label",
        group_column: str | Sequence[str] | None = None,
        time_column: str | Sequence[str] | None = None,
        use_group: bool = True,
        drop: Sequence[str] = (),
        categorical: Sequence[str] = (),
        missing: Sequence[str] | None = None,
        most_categories: Count = 1000,
        predict: Literal["classes", "numbers"] = "classes",
        trees: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.label_column, self.group_column, self.time_column = label_column, group_column, time_column
        self.roles = Roles(group_column, time_column=time_column)
        self.use_group, self.drop, self.categorical = use_group, list(drop), list(categorical)
        self.missing = tuple(MISSING if missing is None else missing)
        self.most_categories, self.trees = most_categories, trees
        self.problem_kind = self.problem_for({"predict": predict, "label_column": label_column})
        self.problem = self.problem_kind(())
        self.columns: TableSpec | None = None
        self.column_values: dict[str, list[str]] = {}
        """Values that the numbers in a column of :attr:`Samples.columns` stand for, by its name (``group``)."""

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Return the problem: classification, multi-label classification or regression."""
        return problem_of(node)

    @property
    def for_backbone(self) -> dict[str, Any]:
        """Return the input columns, for which a backbone is built."""
        return {"columns": self.columns}

    def baselines(self) -> dict[str, float]:
        """Return the scores of a tree ensemble that is fitted to the same training rows."""
        if not self.trees:
            return {}
        return tree_scores(self.sets, self.primary, self.test_names, self.problem, self.seed, self.fingerprint())

    def facts(self) -> dict[str, str]:
        """Report the baseline in addition to the facts of all data."""
        trees = {"trees": "histogram gradient boosting of scikit-learn on the same rows"} if self.trees else {}
        return {**super().facts(), **trees}

    @property
    def reading(self) -> dict[str, Any]:
        """Return the column with the labels and the encoding."""
        return {"label_column": names_in(self.label_column)[0], "encoding": getattr(self, "encoding", "utf-8")}

    # ------------------------------------------------------------------ reading

    def table_at(self, path: Path, encoding: str = "utf-8") -> pd.DataFrame:
        """Read a file, and record its hash."""
        table = read_table(path, encoding)
        table.columns = [str(name).strip() for name in table.columns]
        self.contents.append(file_hash(path))
        return table

    def rows_of(self, table: pd.DataFrame, origin: Path, domain_column: Columns | None = None) -> Samples:
        """Return the labels, groups and times of a table's rows.

        Inputs are the row numbers, which :meth:`encoded` replaces.

        Raises:
            UserError: a column is missing, or has an invalid value.
        """
        self._check_named(table, origin, domain_column)
        self.class_names, y = truth_of(table, names_in(self.label_column), self.problem_kind, origin)
        columns, self.column_values = self.roles.read(table, origin)
        return Samples(torch.arange(len(table)), y, columns=columns)

    @property
    def stratified_by(self) -> list[str] | None:
        """Return the names of the classes by which a random split is stratified; None if there are no classes."""
        return self.class_names if self.problem_kind.numbers_outputs else None

    def _check_named(self, table: pd.DataFrame, origin: Path, domain_column: Columns | None) -> None:
        named = {"label_column": self.label_column, "group_column": self.group_column, "time_column": self.time_column}
        for option, columns in {**named, "domain_column": domain_column}.items():
            check_columns(table, option, names_in(columns), origin)
        check_columns(table, "drop", self.drop, origin)
        check_columns(table, "categorical", self.categorical, origin)
        if unnamed := [str(i) for i, name in enumerate(table.columns, 1) if not name]:
            raise UserError(
                f"{origin}: column {listed(unnamed)} has no name: name it, or leave it out (the index of pandas: "
                "to_csv(index=False))"
            )
        if twice := sorted({name for name in table.columns if (table.columns == name).sum() > 1}):
            raise UserError(f"{origin} has several columns called {listed(twice)}: rename them")

    def encoded(
        self, sets: dict[str, Samples], table: pd.DataFrame, origin: Path, domain_column: Columns | None = None
    ) -> dict[str, Samples]:
        """Replace row numbers by the encoded inputs, with statistics of the training rows.

        Args:
            sets: parts of the result of :meth:`rows_of`.
            table: table with all rows.
            origin: description of the table, for messages.
            domain_column: names of further columns that are not inputs.
        """
        roles = [self.label_column, self.time_column, domain_column, None if self.use_group else self.group_column]
        others = {name for columns in roles for name in names_in(columns)} | {*self.drop}
        names = [name for name in table.columns if name not in others]
        kinds = column_kinds(table, names, self.categorical, self.missing, str(origin))
        train = table.iloc[rows_in(sets[self.primary])]
        self.columns = learn_columns(train, *kinds, self.missing, self.most_categories, str(origin))
        self.notes += describe_columns(*kinds, [name for name in names if name not in (*kinds[0], *kinds[1])])
        self.notes += self._identifiers(table, [name for name in names if name not in names_in(self.group_column)])
        if lacking := self.columns.gaps:
            self.notes.append(f"numbers are missing in {listed(lacking)}")
        return {
            name: Samples(
                self.columns.encode(table.iloc[rows_in(samples)], str(origin)), samples.y, columns=samples.columns
            )
            for name, samples in sets.items()
        }

    def _identifiers(self, table: pd.DataFrame, names: Sequence[str]) -> list[str]:
        """Note columns with a different text or whole number in every row, which usually identify rows."""
        unique = [name for name in names if len(table) >= _MANY_ROWS and _identifies(table[name], self.missing)]
        if not unique:
            return []
        one = len(unique) == 1
        what = "is unique in every row: if it identifies" if one else "are unique in every row: if they identify"
        drop = override("data.drop", [*self.drop, *unique])
        return [f"{' and '.join(unique)} {what} rows, leave {'it' if one else 'them'} out with {drop}"]


def _identifies(column: pd.Series, missing: Sequence[str]) -> bool:
    """Whether a column has a different text or whole number in every row."""
    cells = cells_of(column)
    if not cells.is_unique or bool(cells.isin(list(missing)).any()):
        return False
    numbers = pd.to_numeric(cells, errors="coerce")
    return bool(numbers.isna().any()) or bool((numbers % 1 == 0).all())


def rows_in(samples: Samples) -> np.ndarray:
    """Return the row numbers that stand for inputs."""
    assert isinstance(samples.x, Tensor)
    return samples.x.numpy()


def describe_columns(numbers: Sequence[str], categories: Sequence[str], empty: Sequence[str] = ()) -> list[str]:
    """Describe which columns contain numbers, which contain categories, and which are empty."""
    kinds = {"number": numbers, "category": categories, "empty column": empty}
    plural = {"number": "numbers", "category": "categories", "empty column": "empty columns"}
    return [
        f"{counted(len(names), word, plural[word])} ({listed(names, _FEW_NAMED)})"
        for word, names in kinds.items()
        if names
    ]
