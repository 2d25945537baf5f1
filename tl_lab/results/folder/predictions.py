"""Where predictions are written: a file of its own for each thing that was predicted."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from tl_lab.results.folder.files import write_json
from tl_lab.texts import one_line

__all__ = ["INDEX", "predictions_path"]

INDEX = ".inputs.json"
"""In the folder of predictions: of what each file tells."""


def predictions_path(run: str | Path, inputs: str | Path) -> Path:
    """Choose the file for predictions: ``<run>/predictions/<name of the inputs>.csv``.

    The same inputs get the same file; of two folders of one name, the second gets ``<name>-2.csv``.

    Args:
        run: the run's folder.
        inputs: a folder, or a file.
    """
    place, folder = Path(inputs).resolve(), Path(run) / "predictions"
    name = one_line(place.stem if place.suffix.lower() == ".csv" and not place.is_dir() else place.name) or "all"
    written: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        written = content if isinstance(content, dict) else {}
    number, own = 1, f"{name}.csv"
    while written.get(own, one_line(str(place))) != one_line(str(place)):
        number += 1
        own = f"{name}-{number}.csv"
    write_json(folder / INDEX, written | {own: one_line(str(place))})
    return folder / own
