"""Table inputs: rows of numbers, which may be missing, and categories."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.operations import Inputs, constant
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.errors import UserError, no_column
from tl_lab.texts import counted, listed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MISSING", "TableSpec", "cells_of", "column_kinds", "columns_joined", "learn_columns", "mixture_of"]

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "None")
"""Cells that represent a missing value by default."""
_MOST_NUMBERS = 0.5  # a word in a column with a larger share of numbers is treated as a mistake


@dataclass(frozen=True)
class TableSpec(InputSpec):
    """Rows as ``numbers`` (N, K) float32, ``known`` (N, K), 1 for known numbers, and ``categories`` (N, M) int64.

    Numbers are standardised by the mean and standard deviation of the training rows; a missing number becomes 0, the
    mean. Category 0 stands for missing and unseen values.

    Args:
        numbers: names of the columns with numbers.
        mean: mean of each of these columns over the known values of the training rows.
        deviation: standard deviation of each of these columns; 1 for a constant column.
        gaps: names of those of these columns that have missing values in the training rows.
        categories: names of the columns with categories.
        values: categories of each of these columns, in the order of their codes, which start at 1.
        missing: cells that represent a missing value.
    """

    modality: ClassVar[str] = "table"

    numbers: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    gaps: tuple[str, ...]
    categories: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    missing: tuple[str, ...] = MISSING

    def encode(self, table: "pd.DataFrame", origin: str) -> dict[str, Tensor]:
        """Convert rows to named tensors; numbers keep their units.

        Args:
            table: data frame with these columns; others are ignored.
            origin: description of the table, for messages.

        Raises:
            UserError: a column is missing, or a column of numbers contains a word.
        """
        for name in (*self.numbers, *self.categories):
            if name not in table.columns:
                raise no_column(origin, name, table.columns)
        x = {}
        if self.numbers:
            rows = np.stack([_numbers(table[name], name, self.missing, origin) for name in self.numbers], 1)
            known = ~np.isnan(rows)
            x["numbers"] = torch.from_numpy(np.where(known, rows, 0.0)).float()
            x["known"] = torch.from_numpy(known).float()
        if self.categories:
            codes = [
                self._codes(table[name], values) for name, values in zip(self.categories, self.values, strict=True)
            ]
            x["categories"] = torch.from_numpy(np.stack(codes, 1))
        return x

    def _codes(self, column: "pd.Series", values: Sequence[str]) -> np.ndarray:
        known = {value: code for code, value in enumerate(values, 1)}
        return cells_of(column).map(known).fillna(0).to_numpy(np.int64)

    def fit(self, raw: Any) -> Inputs:
        """Convert rows of a data frame; tensors are returned unchanged."""
        return self.encode(raw, "the table") if hasattr(raw, "iloc") else raw

    def normalise(self, x: Inputs) -> Inputs:
        """Standardise the numbers, and replace missing ones by the mean, 0."""
        assert isinstance(x, Mapping)
        return self._changed(x, lambda numbers, mean, deviation: (numbers - mean) / deviation)

    def restore(self, x: Inputs) -> Inputs:
        """Invert :meth:`normalise`."""
        assert isinstance(x, Mapping)
        return self._changed(x, lambda numbers, mean, deviation: numbers * deviation + mean)

    def _changed(self, x: Mapping[str, Tensor], change: Any) -> dict[str, Tensor]:
        if not self.numbers:
            return dict(x)
        numbers = x["numbers"].double()
        scaled = change(numbers, constant(self.mean, numbers), constant(self.deviation, numbers))
        return {**x, "numbers": scaled.float() * x["known"]}

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Reject images and vectors."""
        return "" if not shape else "it takes rows of a table"

    def state(self) -> dict[str, Any]:
        """Return all fields, with lists instead of tuples."""
        return {"modality": self.modality, **{name: _lists(value) for name, value in asdict(self).items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from the result of :meth:`state`."""
        return cls(**{name: _tuples(value) for name, value in state.items() if name != "modality"})

    def __str__(self) -> str:
        numbers = counted(len(self.numbers), "number")
        return f"{numbers} and {counted(len(self.categories), 'category', 'categories')} a row"


def _lists(value: Any) -> Any:
    return [_lists(one) for one in value] if isinstance(value, tuple | list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, tuple | list) else value


def cells_of(column: "pd.Series") -> "pd.Series":
    """Convert a column's cells to strings without surrounding white space; a missing value becomes empty."""
    import pandas as pd

    if pd.api.types.is_string_dtype(column.dtype) or column.dtype == object:
        return column.map(lambda cell: "" if cell is None or cell != cell else str(cell).strip())
    return column.map(lambda cell: "" if pd.isna(cell) else str(cell))


def row_of(column: "pd.Series", position: int) -> int:
    """Return the number of a row in its file, from 1, also if rows of the file were left out.

    Args:
        column: a column whose index counts the rows of the file from 0; any other index is ignored.
        position: of the row in the column.
    """
    import pandas as pd

    return int(column.index[position] if pd.api.types.is_integer_dtype(column.index.dtype) else position) + 1


def _is_numeric(column: "pd.Series") -> bool:
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(column.dtype)) and not pd.api.types.is_bool_dtype(column.dtype)


def _numbers(column: "pd.Series", name: str, missing: Collection[str], origin: str) -> np.ndarray:
    """Convert a column to numbers, ``(N,)`` float64, with NaN for missing cells."""
    import pandas as pd

    if _is_numeric(column):
        values = column.to_numpy(np.float64, na_value=np.nan)
        wrong = np.isinf(values)
        cells = column
    else:
        cells = cells_of(column)
        absent = cells.isin(list(missing)).to_numpy()
        values = np.where(absent, np.nan, pd.to_numeric(cells, errors="coerce").to_numpy(np.float64))
        wrong = np.isinf(values) | (np.isnan(values) & ~absent)
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"{origin}: column {name!r} has {cells.iloc[row]!r} in row {row_of(cells, row)}, which is not a number"
        )
    return values


def columns_joined(x: Mapping[str, Tensor], widths: Sequence[int]) -> Tensor | None:
    """Concatenate the numbers, the flags of known numbers, and the one-hot categories of rows.

    Args:
        x: named tensors of rows (see :class:`TableSpec`), in original units or standardised.
        widths: number of codes of each column of categories.

    Returns:
        ``(N, D)``, float32, where D is twice the number of columns of numbers plus the sum of ``widths``; None if the
        tensors are not rows of a table.

    Examples:
        >>> rows = {"numbers": torch.tensor([[0.5]]), "known": torch.ones(1, 1), "categories": torch.tensor([[1]])}
        >>> columns_joined(rows, widths=[3]).tolist()
        [[0.5, 1.0, 0.0, 1.0, 0.0]]
    """
    parts = [x["numbers"].float(), x["known"].float()] if {"numbers", "known"} <= x.keys() else []
    if "categories" in x:
        parts += [F.one_hot(x["categories"][:, k], width).float() for k, width in enumerate(widths)]
    return torch.cat(parts, 1) if parts else None


def column_kinds(
    table: "pd.DataFrame", names: Sequence[str], categorical: Collection[str], missing: Collection[str], origin: str
) -> tuple[list[str], list[str]]:
    """Separate the columns of numbers from the columns of categories.

    Args:
        table: table with all columns.
        names: names of the input columns.
        categorical: columns whose numbers are codes of categories.
        missing: cells that represent a missing value.
        origin: description of the table, for messages.

    Returns:
        Names of the columns of numbers and names of the columns of categories, in order; columns without any value are
        in neither.

    Raises:
        UserError: a column contains mostly numbers, and some words.
    """
    import pandas as pd

    numbers, categories = [], []
    for name in names:
        cells = cells_of(table[name])
        present = cells[~cells.isin(list(missing))]
        if present.empty:
            continue
        readable = pd.to_numeric(present, errors="coerce").notna()
        if name in categorical or pd.api.types.is_bool_dtype(table[name].dtype):
            categories.append(name)
        elif bool(readable.all()):
            numbers.append(name)
        elif float(readable.mean()) > _MOST_NUMBERS:
            row = int((~readable).to_numpy().argmax())
            raise UserError(
                f"{origin}: column {name!r} contains numbers and words ({present.iloc[row]!r} in row "
                f"{row_of(present, row)}): list words for missing values in data.missing, or the column in "
                "data.categorical"
            )
        else:
            categories.append(name)
    return numbers, categories


def learn_columns(
    table: "pd.DataFrame",
    numbers: Sequence[str],
    categories: Sequence[str],
    missing: Sequence[str],
    most_categories: int,
    origin: str,
) -> TableSpec:
    """Estimate means, deviations and categories from the training rows.

    Args:
        table: the training rows.
        numbers: names of the columns with numbers.
        categories: names of the columns with categories.
        missing: cells that represent a missing value.
        most_categories: largest number of categories in a column.
        origin: description of the table, for messages.

    Raises:
        UserError: a column has too many categories, or no column is left.
    """
    if not numbers and not categories:
        raise UserError(f"{origin} has no input column left: see data.drop")
    mean, deviation, gaps = [], [], []
    for name in numbers:
        values = _numbers(table[name], name, missing, origin)
        known = values[~np.isnan(values)]
        mean.append(float(known.mean()) if len(known) else 0.0)
        spread = float(known.std()) if len(known) else 0.0
        deviation.append(spread if spread > 1e-12 * abs(mean[-1]) else 1.0)
        gaps += [name] if len(known) < len(values) else []
    values_of = []
    for name in categories:
        cells = cells_of(table[name])
        found = sorted(set(cells[~cells.isin(list(missing))]))
        if len(found) > most_categories:
            raise UserError(
                f"{origin}: column {name!r} has {len(found):,} different values, more than data.most_categories="
                f"{most_categories:,}: leave it out with data.drop, or raise that number"
            )
        values_of.append(tuple(found))
    return TableSpec(
        tuple(numbers),
        tuple(mean),
        tuple(deviation),
        tuple(gaps),
        tuple(categories),
        tuple(values_of),
        tuple(missing),
    )


def mixture_of(labels: Collection[str]) -> str:
    """Describe a mixture of numbers and names among labels, with examples; empty if there is none.

    Labels that are all single characters, for example digits and letters, are not a mixture.
    """
    words = sorted(label for label in labels if not _is_number(label))
    digits = sorted(label for label in labels if _is_number(label))
    if not words or not digits or all(len(label) == 1 for label in labels):
        return ""
    return f"numbers ({listed(digits[:3])}) and names ({listed(words[:3])})"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
