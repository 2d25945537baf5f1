"""Write the main metric of each task of a stream over time to a CSV file."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from tl_lab.results.folder.files import write_text

__all__ = ["BEFORE", "write_accuracy_matrix"]

BEFORE = "before training"


def write_accuracy_matrix(path: str | Path, matrix: Sequence[Sequence[float]], task_names: Sequence[str]) -> Path:
    """Write a stream's scores as CSV: one row per measurement of all tasks, one column per task.

    Args:
        path: the file; it is written atomically.
        matrix: values of the main metric (accuracies, R²), ``(T + 1, T)``: before training, then after each
            task; NaN for values that were not measured, whose cells are empty.
        task_names: names of the T tasks.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written.
    """
    assert len(matrix) == len(task_names) + 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["after", *task_names])
    for name, row in zip([BEFORE, *task_names], matrix, strict=True):
        writer.writerow([name, *("" if math.isnan(value) else float(value) for value in row)])
    return write_text(path, text.getvalue())
