"""Write the accuracy of each test episode to a CSV file; runs with the same seed are tested on the same episodes."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from tl_lab.results.folder.files import write_text

__all__ = ["write_episodes"]


def write_episodes(path: str | Path, accuracies: Mapping[str, Iterable[float]]) -> Path:
    """Write accuracies as CSV with the columns ``set``, ``episode`` (counted from 0) and ``acc`` (a share in [0, 1]).

    Args:
        path: the file; it is written atomically.
        accuracies: accuracies of the episodes of each set, in order, by the name of the set.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["set", "episode", "acc"])
    writer.writerows([name, number, float(acc)] for name, of in accuracies.items() for number, acc in enumerate(of))
    return write_text(path, text.getvalue())
