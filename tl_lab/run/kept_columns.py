"""Columns of a table of inputs, such as identifiers, that are copied to the file of its predictions."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tl_lab.errors import UserError, no_column

__all__ = ["kept_columns"]


def kept_columns(inputs: Sequence[Path], patterns: Sequence[str], reading: Mapping[str, Any]) -> dict[str, list[str]]:
    """Read columns of the table of inputs.

    Args:
        inputs: inputs of a prediction.
        patterns: names of columns; ``*`` stands for any characters.
        reading: how the training files were read.

    Returns:
        The cells of each column, in the order of the table; empty without patterns.

    Raises:
        UserError: the inputs are no table, no column has such a name, or several have the same.
    """
    from tl_lab.data.inputs.table import cells_of
    from tl_lab.data.sets.table_files import ENDINGS, read_table, refuse_spreadsheet

    if not patterns:
        return {}
    path = inputs[0]
    refuse_spreadsheet(path)
    if len(inputs) > 1 or path.is_dir() or path.suffix.lower() not in ENDINGS:
        raise UserError(f"--keep: columns are copied from a table ({', '.join(ENDINGS)}), which must be the only input")
    table = read_table(path, reading.get("encoding", "utf-8"), option=None)
    table.columns = [str(name).strip() for name in table.columns]
    chosen: dict[str, list[str]] = {}
    for pattern in patterns:
        exact = [pattern] if pattern in table.columns else []
        found = exact or [name for name in table.columns if fnmatchcase(name, pattern)]
        if not found:
            raise no_column(f"--keep: {path}", pattern, table.columns)
        if twice := next((name for name in found if (table.columns == name).sum() > 1), None):
            raise UserError(f"--keep: {path} has several columns called {twice!r}: rename them")
        chosen |= {name: cells_of(table[name]).tolist() for name in found}
    return chosen
