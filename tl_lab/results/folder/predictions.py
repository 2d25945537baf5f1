"""Paths of prediction files, with one file for each set of inputs."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tl_lab.results.folder.files import write_json
from tl_lab.texts import one_line

__all__ = ["INDEX", "predictions_path"]

INDEX = ".inputs.json"
"""File in the folder of predictions that lists the inputs of each prediction file."""


def predictions_path(run: str | Path, inputs: Sequence[str | Path], support: str | Path | None = None) -> Path:
    """Choose the file for predictions: ``<run>/predictions/<name of the inputs>.csv``.

    The same inputs always get the same file. If two folders of inputs have the same name, the second gets
    ``<name>-2.csv``. Predictions by support examples get ``<name>_by_support.csv``.

    Args:
        run: the run's folder.
        inputs: folders or files, at least one; the first one names the file.
        support: folder or table of the support examples; None if the run's own classes are predicted.
    """
    places, folder = [Path(one).resolve() for one in inputs], Path(run) / "predictions"
    first, listing = places[0], "\n".join(one_line(str(place)) for place in places)
    name = one_line(first.stem if first.suffix.lower() == ".csv" and not first.is_dir() else first.name) or "all"
    name += f"_and_{len(places) - 1}_more" if len(places) > 1 else ""
    if support is not None:
        name, listing = f"{name}_by_support", f"{listing}\n{one_line(str(Path(support).resolve()))}"
    written: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        content = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        written = content if isinstance(content, dict) else {}
    number, own = 1, f"{name}.csv"
    while written.get(own, listing) != listing:
        number += 1
        own = f"{name}-{number}.csv"
    write_json(folder / INDEX, written | {own: listing})
    return folder / own
