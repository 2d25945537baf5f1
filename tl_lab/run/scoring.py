"""Scoring a finished run on other labelled samples."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tl_lab.data.inputs.decoding import IMAGE_TYPES
from tl_lab.data.inputs.dicom import DICOM_TYPES
from tl_lab.data.inputs.finding import class_folders, files_below
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.recordings import AUDIO_TYPES
from tl_lab.data.inputs.texts import TEXT_TYPES
from tl_lab.errors import UserError, nearest
from tl_lab.results.folder.files import SCHEMA, read_results, write_json
from tl_lab.run.given import Named, read_files, read_rows, rows_of
from tl_lab.run.given_audio import batches_of_recordings
from tl_lab.run.given_texts import batches_of_files, cells_at
from tl_lab.run.inference import TrainedModel, load_classifier
from tl_lab.texts import printable

__all__ = ["score"]


def score(
    run: str | Path,
    inputs: str | Path,
    output: str | Path | None = None,
    *,
    checkpoint: str | None = None,
    task: int | None = None,
    skip_unreadable: bool = False,
    allow: Sequence[str] = (),
    device: str = "cpu",
) -> dict[str, Any]:
    """Score a finished run on labelled samples that it has not seen.

    Nothing is trained or selected on them; thresholds of labels are those of the run.

    Args:
        run: the run's folder.
        inputs: a folder with a sub-folder of images, recordings or texts for each class, named as the run's classes; or
            a table with a column ``path``, the columns of texts or rows used in training, or a column for each value,
            and additionally the column of classes (``label``, or that used in training) or a column for each label (0
            or 1) or quantity, by name.
        output: the JSON file to write; None for ``<run>/tests/<name of inputs>.json``.
        checkpoint: ``best`` or ``last``; None for the one that the run tested.
        task: see :func:`tl_lab.run.inference.load`.
        skip_unreadable: skip unreadable images instead of stopping.
        allow: see :func:`tl_lab.run.inference.load`.
        device: see :func:`tl_lab.run.inference.load`.

    Returns:
        The written content: ``metrics`` (``test/<name>/acc``), ``count``, ``absent`` classes, and the data's source.

    Raises:
        UserError: labels are missing or unknown to the run, or a file cannot be read.
    """
    place = Path(inputs)
    if not place.exists():
        raise UserError(f"there is no folder or file {place} to test on")
    model = load_classifier(run, checkpoint, task, allow, device=device)
    batches, labels = _labelled(place, model, skip_unreadable)
    metrics, counted = _measure(model, batches, labels, place)
    name = printable(place.resolve().stem)
    counts = model.problem.counts(counted)
    absent = [] if counts is None else [one for one, n in zip(model.class_names, counts.tolist(), strict=True) if not n]
    found = {
        "schema": SCHEMA,
        "run": os.path.relpath(run),
        "inputs": os.path.relpath(place),
        "checkpoint": checkpoint or _tested(Path(run)),
        "count": len(counted),
        "absent": absent,
        "metrics": {f"test/{name}/{metric}": value for metric, value in metrics.items()},
    }
    found["file"] = str(write_json(Path(output) if output else Path(run) / "tests" / f"{name}.json", found))
    return found


def _tested(run: Path) -> str:
    """Return which checkpoint a run tested, as its results state."""
    with contextlib.suppress(UserError, OSError):  # of an unfinished run
        return str(read_results(run).get("tested_checkpoint") or "last")
    return "last"


def _measure(
    model: TrainedModel, batches: Iterable[Named], labels: Mapping[str, Tensor], place: Path
) -> tuple[dict[str, float], Tensor]:
    """Compute the scores of the problem; return the labels of the readable samples, too, ``(N, ...)``."""
    meter, seen = model.problem.meter(), []
    for batch in model.answer(batches, logits=True):
        y = torch.stack([labels[name] for name in batch.names])
        model.problem.check(str(place), y)
        meter.update(batch.logits, y)  # type: ignore[arg-type]
        seen.append(y)
    if not seen:
        raise UserError(f"{place} contains no readable sample: there is nothing to test on")
    return meter.compute(), torch.cat(seen)


def _labelled(place: Path, model: TrainedModel, skip: bool) -> tuple[Iterator[Named], dict[str, Tensor]]:
    """Read samples, and their labels by the samples' names."""
    try:
        columns = model.problem.label_columns(model.reading.get("label_column", "label"))
    except UserError as error:
        raise UserError(f"{place} cannot be tested on: {error}") from error
    if place.is_dir():
        return _of_folder(place, model, skip)
    by_name = model.spec.modality in ("text", "audio")
    rows: Any = cells_at(place, model).to_dict("records") if by_name else rows_of(place)
    if missing := [name for name in columns if name not in rows[0]]:
        raise UserError(
            f"{place} has no column {missing[0]!r} with true labels; {nearest(missing[0], rows[0], in_order=True)}"
        )
    values = [[row[name] for name in columns] for row in rows]
    inputs = [{name: cell for name, cell in row.items() if name not in columns} for row in rows]
    listed = "path" in inputs[0] and model.spec.modality in ("image", "audio")
    labels: dict[str, Tensor] = {}
    for i, (row, truth) in enumerate(zip(inputs, values, strict=True)):
        name = printable(row["path"]) if listed else str(i)
        y = model.problem.read_label(truth, f"{place}, row {i + 1}")
        if name in labels and not torch.equal(labels[name], y):
            raise UserError(f"{place} gives {name} two different labels: leave one of its rows out")
        labels[name] = y
    return read_rows(place, inputs, model, skip=skip), labels


def _of_folder(place: Path, model: TrainedModel, skip: bool) -> tuple[Iterator[Named], dict[str, Tensor]]:
    if not model.problem.numbers_outputs:
        inputs = model.reading.get("text_column", ["path"]) if model.spec.modality == "text" else ["path"]
        raise UserError(
            f"{place} is a folder, whose sub-folders can only be classes: give a table with the columns "
            f"{', '.join([*inputs, *model.class_names])}"
        )
    folders = class_folders(place)
    if not folders:
        raise UserError(f"{place} has no sub-folders: give one for each class, such as {model.class_names[0]!r}")
    modality = model.spec.modality
    types = {"audio": AUDIO_TYPES, "text": TEXT_TYPES}.get(modality, IMAGE_TYPES | DICOM_TYPES)
    files: dict[str, Tensor] = {}
    for name, folder in folders.items():
        y = model.problem.read_label([name], f"the folder {folder}")
        files |= {f"{folder.name}/{file}": y for file in files_below(folder, types)}
    if not files:
        plural = {"audio": "recordings", "text": "texts"}.get(modality, "images")
        raise UserError(f"{place} contains no {plural} ({' '.join(sorted(types))}) in its sub-folders")
    labels = {printable(name): y for name, y in files.items()}
    paths = [place / name for name in files]
    if modality == "audio":
        return (Named(*batch) for batch in batches_of_recordings(list(files), paths, model, skip=skip)), labels
    if modality == "text":
        return (Named(*batch) for batch in batches_of_files(list(files), paths, model, skip=skip)), labels
    return read_files(ImageFiles(place, list(files)), model, skip=skip), labels
