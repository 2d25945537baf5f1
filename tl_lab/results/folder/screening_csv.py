"""Write the screening metrics of each finding to a CSV file."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tl_lab.results.folder.files import write_text

__all__ = ["write_screening"]


def write_screening(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the rows of :func:`tl_lab.training.screening.screening_rows` as CSV; NaN leaves a cell empty.

    Args:
        path: the file; it is written atomically.
        rows: the rows, at least one.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows(["" if value != value else value for value in row.values()] for row in rows)
    return write_text(path, text.getvalue())
