"""Roles of table columns: labels, groups, domains and times, each from one column or several."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.inputs.table import cells_of, mixture_of
from tl_lab.data.variety import one_class_refused
from tl_lab.errors import UserError, no_column
from tl_lab.problems import MultiLabel, Problem, Regression, SingleLabel
from tl_lab.texts import listed

__all__ = [
    "Columns",
    "UnreadableTimes",
    "cell_of",
    "check_columns",
    "codes_of",
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
"""The name of a column, or a list of several."""


class UnreadableTimes(UserError):
    """A column with times contains something else, or numbers and dates together."""


def names_in(columns: Columns | None) -> list[str]:
    """List the columns of an option; None for no columns."""
    return [] if columns is None else [columns] if isinstance(columns, str) else [*columns]


def problem_of(node: Mapping[str, Any]) -> type[Problem]:
    """Choose regression, classification, or several labels at once (for several columns).

    Args:
        node: with ``predict`` and ``label_column``, as they are configured.
    """
    if node.get("predict") == "numbers":
        return Regression
    return MultiLabel if len(names_in(node.get("label_column"))) > 1 else SingleLabel


def truth_of(table: pd.DataFrame, names: Sequence[str], kind: type[Problem], path: Path) -> tuple[list[str], Tensor]:
    """Read the labels.

    Args:
        table: with these columns.
        names: of the columns: one with classes, or one or more with numbers or with 0 and 1.
        kind: of the problem.
        path: of the table, for messages.

    Returns:
        The names of the outputs, and labels ``(N,)`` of one class, else ``(N, K)``.

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
            f"{path}: column {name!r} has {cells[name].iloc[row]!r} in row {row + 1}: several columns in "
            "data.label_column must be labels of 0 and 1; for tasks with separate classes, use data=tasks_of_table"
        )
    return list(names), y.long() if kind.marks_outputs else y


def together(table: pd.DataFrame, names: Sequence[str], between: str = "-") -> list[str]:
    """Return each row's cell, or its cells of several columns joined to one text.

    Args:
        table: with these columns.
        names: of the columns.
        between: separator of two cells.

    Raises:
        UserError: different cells result in the same text.
    """
    rows = list(zip(*(cells_of(table[name]) for name in names), strict=True))
    texts = [between.join(row) for row in rows]
    if len(set(texts)) < len(set(rows)):
        first = dict(zip(reversed(texts), reversed(rows), strict=True))
        twice = next(text for text, row in zip(texts, rows, strict=True) if first[text] != row)
        raise UserError(
            f"the columns {listed(names)} together: {twice!r} results from different cells; rename the values that "
            f"contain {between!r}"
        )
    return texts


def check_columns(table: pd.DataFrame, option: str, names: Sequence[str], path: Path) -> None:
    """Check that columns exist, each once.

    Raises:
        UserError: the table lacks one, and the message suggests similar names; or it has several of that name.
    """
    for name in names:
        if name not in table.columns:
            raise no_column(f"data.{option}: {path}", name, table.columns)
        if (count := (table.columns == name).sum()) > 1:
            raise UserError(f"data.{option}: {path} has {count} columns called {name!r}: rename them")


def cell_of(value: Any) -> str:
    """Return a cell as text; an empty cell as the empty text."""
    return value if isinstance(value, str) else "" if value is None or value != value else str(value)


def labels_of(column: Iterable[Any], name: str, path: Path) -> list[str]:
    """Read the classes of a column.

    Args:
        column: its cells.
        name: of the column, for messages.
        path: of the table, likewise.

    Raises:
        UserError: a cell is empty, all are the same, or numbers are mixed with names.
    """
    labels = [cell_of(value).strip() for value in column]
    if empty := [row for row, label in enumerate(labels, 1) if not label]:
        raise UserError(
            f"{path}: column {name!r} is empty in {len(empty):,} rows ({listed(map(str, empty))}): fill or remove them"
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
        raise UserError(f"{path}: column {name!r} has {column.iloc[row]!r} in row {row + 1}, which is not a number")
    return torch.tensor(values.to_numpy().astype("float32"))


def codes_of(cells: Sequence[str]) -> Tensor:
    """Number the distinct cells in their order."""
    known = {cell: number for number, cell in enumerate(sorted_labels(cells))}
    return torch.tensor([known[cell] for cell in cells])


def times_of(cells: Sequence[str], columns: Columns) -> Tensor:
    """Convert numbers unchanged, and dates to seconds since 1970, ``(N,)`` float64.

    Args:
        cells: of each row.
        columns: names of the columns, for messages.

    Raises:
        UnreadableTimes: a cell is neither, or numbers and dates are mixed.
    """
    numbers = pd.to_numeric(pd.Series(cells), errors="coerce")
    if bool(numbers.isna().any()):
        dates = pd.to_datetime(pd.Series(cells), errors="coerce", utc=True, format="mixed")
        if bool(dates.isna().any()):
            where, neither = ",".join(names_in(columns)), (numbers.isna() & dates.isna()).to_numpy()
            if not neither.any():
                raise UnreadableTimes(f"data.time_column={where} mixes numbers and dates: write all in the same way")
            wrong = cells[int(neither.argmax())]
            raise UnreadableTimes(f"data.time_column={where} has {wrong!r}, which is neither a number nor a date")
        numbers = dates.map(lambda date: date.timestamp())
    return torch.tensor(numbers.to_numpy().astype("float64"))


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """List distinct labels: numbers by value, before words."""
    return sorted(set(labels), key=_order)


def _order(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
