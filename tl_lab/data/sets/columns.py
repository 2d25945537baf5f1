"""Read labels, groups, domains and times from one or several columns of a table."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.inputs.table import cells_of, mixture_of, row_of
from tl_lab.data.variety import one_class_refused
from tl_lab.errors import MANY, UserError, no_column
from tl_lab.problems import MultiLabel, Problem, Regression, SingleLabel
from tl_lab.texts import counted, listed

__all__ = [
    "Columns",
    "UnreadableTimes",
    "cell_of",
    "check_columns",
    "labelled_rows",
    "labels_of",
    "names_in",
    "numbers_of",
    "problem_of",
    "sorted_labels",
    "times_of",
    "together",
    "truth_of",
]

Columns = str | Sequence[str]
"""The name of a column, or a list of names."""


_DEFAULTS = {"label_column": "label", "text_column": "text"}
"""Columns of options that have a default for any table."""


class UnreadableTimes(UserError):
    """A column with times contains other values, or both numbers and dates."""


def names_in(columns: Columns | None) -> list[str]:
    """Return the column names in an option as a list, which is empty for None."""
    return [] if columns is None else [columns] if isinstance(columns, str) else [*columns]


def problem_of(node: Mapping[str, Any]) -> type[Problem]:
    """Return the problem: regression, classification or, for several columns, multi-label classification.

    Args:
        node: configuration node with ``predict`` and ``label_column``.
    """
    if node.get("predict") == "numbers":
        return Regression
    return MultiLabel if len(names_in(node.get("label_column"))) > 1 else SingleLabel


def truth_of(table: pd.DataFrame, names: Sequence[str], kind: type[Problem], path: Path) -> tuple[list[str], Tensor]:
    """Read the labels.

    Args:
        table: table with these columns.
        names: names of the label columns: one column of classes, or one or more columns of numbers or of 0 and 1.
        kind: the problem.
        path: path of the table, for messages.

    Returns:
        The names of the outputs, and the labels: ``(N,)`` for classes, otherwise ``(N, K)``.

    Raises:
        UserError: a column is missing, or a cell is invalid.
    """
    check_columns(table, "label_column", names, path)
    cells = {name: cells_of(table[name]).astype(object) for name in names}
    if kind.numbers_outputs:
        numbers, labels = pd.factorize(pd.Series(labels_of(cells[names[0]], names[0], path), dtype=object))
        classes = sorted_labels(labels)
        places = {name: number for number, name in enumerate(classes)}
        return classes, torch.tensor([places[label] for label in labels])[torch.from_numpy(numbers)]
    y = torch.stack([numbers_of(cells[name], name, path) for name in names], 1)
    if kind.marks_outputs and bool((wrong := (y != 0) & (y != 1)).any()):
        row, column = (int(place) for place in wrong.nonzero()[0])
        name = names[column]
        raise UserError(
            f"{path}: column {name!r} has {cells[name].iloc[row]!r} in row {row_of(cells[name], row)}: several columns "
            "in data.label_column must be labels of 0 and 1; for tasks with separate classes, use data=tasks_of_table"
        )
    return list(names), y.long() if kind.marks_outputs else y


def together(table: pd.DataFrame, names: Sequence[str], between: str = "-") -> list[str]:
    """Return the cell of each row, or its cells in several columns joined into one text.

    Args:
        table: table with these columns.
        names: names of the columns.
        between: separator of joined cells.

    Raises:
        UserError: different cells result in the same text.
    """
    rows = list(zip(*(cells_of(table[name]) for name in names), strict=True))
    texts = [between.join(row) for row in rows]
    if len(set(texts)) < len(set(rows)):
        first = dict(zip(reversed(texts), reversed(rows), strict=True))
        twice = next(text for text, row in zip(texts, rows, strict=True) if first[text] != row)
        raise UserError(
            f"the cells of the columns {listed(names)} cannot be combined: {twice!r} results from different cells; "
            f"rename the values that contain {between!r}"
        )
    return texts


def check_columns(table: pd.DataFrame, option: str, names: Sequence[str], path: Path) -> None:
    """Check that columns exist, and that their names are unique.

    Args:
        table: the table.
        option: name of the option that names the columns, for messages.
        names: names of the columns.
        path: path of the table, for messages.

    Raises:
        UserError: a column is missing (the message suggests similar names, unless the name is the option's default), or
            several have the same name.
    """
    for name in names:
        if name not in table.columns and _DEFAULTS.get(option) == name:
            raise UserError(
                f"data.{option}: {path} has no column {name!r}, which is the default: set data.{option} to one of its "
                f"columns, {listed([str(column) for column in table.columns], MANY)}"
            )
        if name not in table.columns:
            raise no_column(f"data.{option}: {path}", name, table.columns)
        if (count := (table.columns == name).sum()) > 1:
            raise UserError(f"data.{option}: {path} has {count} columns called {name!r}: rename them")


def cell_of(value: Any) -> str:
    """Return a cell as text; an empty cell becomes the empty text."""
    return value if isinstance(value, str) else "" if value is None or value != value else str(value)


def labelled_rows(
    table: pd.DataFrame, names: Sequence[str], path: Path, unlabelled: str, notes: list[str]
) -> list[int] | None:
    """Find the rows whose label cells are filled.

    Args:
        table: table with these columns.
        names: names of the label columns; a row without one of these labels is not labelled.
        path: path of the table, for messages.
        unlabelled: ``stop``, or ``skip``: leave such rows out.
        notes: receives the number of rows that are left out.

    Returns:
        The positions of the labelled rows; None if all are.

    Raises:
        UserError: a column is missing, no row has a label, or a row has none and the option is ``stop``.
    """
    check_columns(table, "label_column", names, path)
    empty = pd.concat([cells_of(table[name]).astype(str).str.strip() == "" for name in names], axis=1).any(axis=1)
    rows = empty.to_numpy().nonzero()[0]
    if not len(rows):
        return None
    message = f"{path}: the label ({listed(names)}) is empty in {counted(len(rows), 'row')} of {len(table):,}"
    if unlabelled == "stop":
        where = listed([str(row + 1) for row in rows])
        raise UserError(f"{message} ({where}): fill or remove them, or set data.unlabelled=skip to leave them out")
    if len(rows) == len(table):
        raise UserError(message)
    notes.append(f"{counted(len(rows), 'row')} of {len(table):,} left out, because they have no label")
    return (~empty).to_numpy().nonzero()[0].tolist()


def labels_of(column: Iterable[Any], name: str, path: Path) -> list[str]:
    """Read the classes of a column.

    Args:
        column: cells of the column.
        name: name of the column, for messages.
        path: path of the table, for messages.

    Raises:
        UserError: a cell is empty, all cells are the same, or numbers are mixed with names.
    """
    labels = [cell_of(value).strip() for value in column]
    if empty := [row for row, label in enumerate(labels) if not label]:
        numbers = [str(row_of(column, row) if isinstance(column, pd.Series) else row + 1) for row in empty]
        raise UserError(
            f"{path}: column {name!r} is empty in {counted(len(empty), 'row')} ({listed(numbers)}): fill or remove them"
        )
    if len(set(labels)) < 2 and one_class_refused():
        raise UserError(f"{path}: column {name!r} has a single class, {labels[0]!r}: at least two are needed")
    if mixed := mixture_of(set(labels)):
        raise UserError(f"{path}: the classes in column {name!r} are {mixed}: write all classes in the same way")
    return labels


def numbers_of(column: pd.Series, name: str, path: Path) -> Tensor:
    """Read the numbers of a column, ``(N,)`` float32.

    Raises:
        UserError: a cell is not a number.
    """
    values = pd.to_numeric(column, errors="coerce")
    if bool(values.isna().any()):
        row = int(values.isna().to_numpy().argmax())
        raise UserError(
            f"{path}: column {name!r} has {column.iloc[row]!r} in row {row_of(column, row)}, which is not a number"
        )
    return torch.tensor(values.to_numpy().astype("float32"))


def times_of(cells: Sequence[str], columns: Columns, option: str = "time_column") -> Tensor:
    """Convert times to numbers: dates become seconds since 1970, and numbers are not changed.

    Args:
        cells: the time of each row, as text.
        columns: names of the columns, for messages.
        option: name of the option that names them, for messages.

    Returns:
        The times, ``(N,)`` float64.

    Raises:
        UnreadableTimes: a cell is neither a number nor a date, or numbers and dates are mixed.
    """
    numbers = pd.to_numeric(pd.Series(cells), errors="coerce")
    if bool(numbers.isna().any()):
        dates = pd.to_datetime(pd.Series(cells), errors="coerce", utc=True, format="mixed")
        if bool(dates.isna().any()):
            where, neither = ",".join(names_in(columns)), (numbers.isna() & dates.isna()).to_numpy()
            if not neither.any():
                raise UnreadableTimes(f"data.{option}={where} mixes numbers and dates: use only one of them")
            wrong = cells[int(neither.argmax())]
            raise UnreadableTimes(f"data.{option}={where} has {wrong!r}, which is neither a number nor a date")
        numbers = dates.map(lambda date: date.timestamp())
    return torch.tensor(numbers.to_numpy().astype("float64"))


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Sort the distinct labels: first numbers, by value, then words."""
    return sorted(set(labels), key=_order)


def _order(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
