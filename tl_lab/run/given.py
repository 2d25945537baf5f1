"""Inputs of a prediction: files, images or arrays, converted to named batches."""

import csv
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tl_lab.data.encodings import decoded
from tl_lab.data.inputs.decoding import IMAGE_TYPES, decode, depth_of, reason
from tl_lab.data.inputs.examining import keep_readable, levels_for
from tl_lab.data.inputs.finding import images_below, is_image
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.image_files import ImageFiles
from tl_lab.data.inputs.levels import Levels
from tl_lab.data.inputs.operations import Inputs, count, take
from tl_lab.data.inputs.pixels import check_pixels, pixel_values
from tl_lab.errors import UserError, nearest
from tl_lab.run.given_audio import batches_of_recordings, read_audio
from tl_lab.run.given_pages import read_pages
from tl_lab.run.given_passages import read_passages
from tl_lab.run.given_texts import batches_of_texts, read_text_paths, texts_of_rows
from tl_lab.texts import counted, printable

if TYPE_CHECKING:
    from tl_lab.run.inference import TrainedModel

__all__ = ["Given", "Named", "as_batch", "read_files", "read_given", "read_rows", "rows_of"]

Given: TypeAlias = "str | os.PathLike[str] | Image.Image | Tensor | np.ndarray | Mapping[str, Tensor] | Sequence[Any]"
"""A path, an image, an array or a batch of named tensors; or a list of paths, of images, or of arrays."""

_THREADS = 2  # for decoding images


class Named(NamedTuple):
    """A batch of inputs.

    Attributes:
        names: of the samples: files as given, or numbers from 0.
        x: images ``(B, C, H, W)``, vectors ``(B, D)``, or named tensors.
        words: of each sample its words, or its passage, if the prediction names some of them; otherwise None.
    """

    names: list[str]
    x: Inputs
    words: "list[Any] | None" = None


def read_given(given: Given, model: "TrainedModel", batch_size: int = 256, skip: bool = False) -> Iterator[Named]:
    """Read inputs of a prediction, in batches.

    Args:
        given: see :meth:`tl_lab.run.inference.TrainedModel.predict`.
        model: provides the shape of its inputs.
        batch_size: samples in a batch.
        skip: skip unreadable images with a warning that names them, instead of stopping.

    Yields:
        Names and inputs.

    Raises:
        UserError: there are no inputs, a file cannot be read, or an array has the wrong shape or range, or does not
            hold real numbers.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise UserError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
    if isinstance(given, Iterator | Set):
        given = list(given)
    if model.spec.modality == "audio" and not isinstance(given, Mapping):
        yield from (Named(*batch) for batch in read_audio(given, model, batch_size, skip))
    elif model.spec.modality == "tokens_with_boxes" and not isinstance(given, Mapping):
        yield from (Named(*batch) for batch in read_pages(given, model, batch_size, skip))
    elif model.spec.modality == "passage" and not isinstance(given, Mapping):
        yield from (Named(*batch) for batch in read_passages(given, model, batch_size))
    elif isinstance(given, str | os.PathLike):
        yield from _read_path(Path(given), model, batch_size, skip)
    elif isinstance(given, Image.Image):
        yield from _read_pictures([given], model, batch_size)
    elif isinstance(given, Mapping) or not isinstance(given, Sequence):
        x = given if isinstance(given, Mapping) else as_batch(given, model)
        yield from _cut(cast(Inputs, x), batch_size)
    elif given and getattr(model.spec, "tokeniser", None) is not None and not isinstance(given[0], os.PathLike):
        yield from (Named(*batch) for batch in batches_of_texts(given, model, batch_size))
    elif not given:
        raise UserError("the list of inputs is empty: give paths, images or arrays")
    elif all(isinstance(one, str | os.PathLike) for one in given):
        yield from _read_paths([Path(one) for one in given], model, batch_size, skip)
    elif all(isinstance(one, Image.Image) for one in given):
        yield from _read_pictures(cast(Sequence[Image.Image], given), model, batch_size)
    elif any(isinstance(one, str | os.PathLike | Image.Image) for one in given):
        raise UserError("a list of inputs must contain paths, images or arrays, not several of these")
    else:
        yield from _cut(_joined(given, model), batch_size)


# ---------------------------------------------------------------------- arrays


def as_batch(array: Any, model: "TrainedModel") -> Tensor:
    """Convert an array to a batch in the model's format.

    Args:
        array: of images one of ``(B, C, H, W)``, ``(B, H, W, C)``, ``(B, H, W)``, ``(C, H, W)``, ``(H, W, C)`` and
            ``(H, W)``, of 1 or 3 channels or the model's own number; of vectors ``(B, D)`` or ``(D,)``.
        model: provides the format.

    Returns:
        Images ``(B, C, H, W)``, uint8 or float, or vectors ``(B, D)``.

    Raises:
        UserError: the shape is none of these or ambiguous, values are out of range, or not real numbers.
    """
    try:
        x = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{_named(array)} cannot be predicted: give paths, images or arrays of numbers") from error
    if x.is_complex():
        raise UserError("an array of complex numbers cannot be predicted: give real numbers")
    if model.spec.modality == "image":
        return check_pixels(_arranged(x, {1, 3, model.shape[0]}))
    return x[None] if model.spec.modality == "vector" and x.dim() == 1 else x


def _named(value: Any) -> str:
    """Describe an input that is not an array of numbers."""
    kind = type(value).__name__
    return f"an array of {value.dtype} values" if isinstance(value, np.ndarray) else f"an input of type {kind}"


def _arranged(x: Tensor, channels: set[int]) -> Tensor:
    shape, first, last = tuple(x.shape), 0, -1
    if x.dim() == 4 and shape[1] in channels:
        return x
    if x.dim() == 4 and shape[last] in channels:
        return x.permute(0, 3, 1, 2)
    if x.dim() == 3 and shape[last] in channels and shape[first] not in channels:
        return x.permute(2, 0, 1)[None]
    if x.dim() == 3 and shape[first] in channels and shape[first] > 1:
        c, h, w = shape
        raise UserError(
            f"an array of shape {shape} may be one image of {c} channels or {c} grey images: give it the shape "
            f"{(1, c, h, w)} or {(c, 1, h, w)}"
        )
    if x.dim() == 3:
        return x[:, None]
    if x.dim() == 2:
        return x[None, None]
    wanted = " or ".join(map(str, sorted(channels)))
    raise UserError(f"images are arrays (B, C, H, W) or (B, H, W, C) of {wanted} channels, not of shape {shape}")


def _joined(arrays: Sequence[Any], model: "TrainedModel") -> Tensor:
    """Stack arrays of one sample each; images may differ in size."""
    batches = [as_batch(one, model) for one in arrays]
    if model.spec.modality == "image" and len({batch.shape[1:] for batch in batches}) > 1:
        batches = [model.spec.fit(batch) for batch in batches]  # type: ignore[misc]
    return torch.cat(batches)


def _cut(inputs: Inputs, size: int) -> Iterator[Named]:
    for start in range(0, count(inputs), size):
        part = take(inputs, slice(start, start + size))
        yield Named([str(start + i) for i in range(count(part))], part)


# ---------------------------------------------------------------------- images and files


def _levels(model: "TrainedModel") -> Levels:
    return Levels.from_state(model.reading.get("levels", {}))


def _read_pictures(pictures: Sequence[Image.Image], model: "TrainedModel", batch_size: int) -> Iterator[Named]:
    """Decode images by the rules for files."""
    spec = _image_spec(model, "pictures")
    try:
        levels = _levels(model).extended(depth for one in pictures if (depth := depth_of(one)) is not None)
        for start in range(0, len(pictures), batch_size):
            part = pictures[start : start + batch_size]
            names = [str(start + i) for i in range(len(part))]
            yield Named(names, torch.stack([decode(one, spec, levels) for one in part]))
    except (OSError, ValueError) as error:
        raise UserError(f"an image cannot be predicted ({reason(error)})") from error


def _image_spec(model: "TrainedModel", what: str) -> ImageSpec:
    if model.spec.modality != "image":
        raise UserError(f"{what} cannot be read for a model of {model.spec.modality} inputs: give it batches in Python")
    return cast(ImageSpec, model.spec)


def _read_table(path: Path, model: "TrainedModel", batch_size: int) -> Iterator[Named]:
    """Read the rows of a table from the columns used in training."""
    from tl_lab.data.sets.table_files import read_table

    if not path.is_file():
        raise UserError(f"there is no table {path} to predict")
    table = read_table(path, model.reading.get("encoding", "utf-8"), option=None)
    table.columns = [str(name).strip() for name in table.columns]
    yield from _rows_of_table(table, path, model, batch_size)


def _rows_of_table(table: Any, path: Path, model: "TrainedModel", batch_size: int) -> Iterator[Named]:
    if table.empty:
        raise UserError(f"{path} has no rows below its header")
    yield from _cut(cast(Any, model.spec).encode(table, str(path)), batch_size)


def _read_path(path: Path, model: "TrainedModel", batch_size: int, skip: bool) -> Iterator[Named]:
    """Read a folder of images or texts, one of them, or a table."""
    if getattr(model.spec, "tokeniser", None) is not None:
        yield from (Named(*batch) for batch in read_text_paths([path], model, batch_size, skip))
        return
    if model.spec.modality == "table":
        yield from _read_table(path, model, batch_size)
        return
    channels = _channels_of(path, model)
    if path.is_dir() and model.spec.modality == "vector":
        raise UserError(f"{path} is a folder, and the model takes vectors: give a CSV file of {channels} columns")
    if path.is_dir():
        yield from read_files(ImageFiles(path, _names_in(path)), model, batch_size, skip)
    elif not path.is_file():
        raise UserError(f"there is no folder or file {path} to predict")
    elif is_image(path.name) and model.spec.modality == "image":
        yield from read_files(ImageFiles(path.parent, [path.name]), model, batch_size, skip)
    else:
        yield from read_rows(path, rows_of(path), model, batch_size, skip)


def _names_in(folder: Path) -> list[str]:
    names = images_below(folder)
    if not names:
        raise UserError(f"{folder} contains no images ({', '.join(sorted(IMAGE_TYPES))})")
    return names


def _channels_of(path: Path, model: "TrainedModel") -> int:
    if model.spec.modality not in ("image", "vector"):
        raise UserError(f"{path} cannot be read for a model of {model.spec.modality} inputs: give it batches in Python")
    return model.shape[0]


def _read_paths(paths: Sequence[Path], model: "TrainedModel", batch_size: int, skip: bool) -> Iterator[Named]:
    """Read several paths: images and folders of images, or texts, as one list; a table only by itself."""
    if len(paths) == 1:
        yield from _read_path(paths[0], model, batch_size, skip)
        return
    if getattr(model.spec, "tokeniser", None) is not None:
        yield from (Named(*batch) for batch in read_text_paths(paths, model, batch_size, skip))
        return
    _image_spec(model, "several files")
    if table := next((path for path in paths if path.suffix.lower() in (".csv", ".tsv")), None):
        raise UserError(f"{table} is a table, which must be the only input: leave the other paths out")
    files: dict[str, Path] = {}
    for path in paths:
        here = {str(path / name): path / name for name in _names_in(path)} if path.is_dir() else {str(path): path}
        files |= here
    names = list(files)
    yield from read_files(ImageFiles(Path(), names), model, batch_size, skip)


def read_files(files: ImageFiles, model: "TrainedModel", batch_size: int = 256, skip: bool = False) -> Iterator[Named]:
    """Decode images as in training, after checking all of them.

    Args:
        files: the images.
        model, batch_size, skip: see :func:`read_given`.
    """
    advice = "skip such images (--skip-unreadable; in Python skip_unreadable=True)"
    known = _levels(model)
    files, _, left_out = keep_readable(files, None, "skip" if skip else "stop", _THREADS, skip=advice, known=known)
    if left_out:
        warnings.warn(left_out, stacklevel=2)
    files = files.with_levels(levels_for([files], known, files.root))
    for start in range(0, len(files), batch_size):
        part = files.subset(torch.arange(start, min(start + batch_size, len(files))))
        x = part.load_all(_image_spec(model, "images"), _THREADS)
        yield Named([printable(name) for name in part.names], x)


# ---------------------------------------------------------------------- tables


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file of cells separated by commas, or by tabs if its name ends in .tsv, by column."""
    from tl_lab.data.sets.table_files import SEPARATORS, check_separator, refuse_spreadsheet

    separator = SEPARATORS.get(path.suffix.lower(), ",")

    refuse_spreadsheet(path)
    try:
        with decoded(path, "utf-8-sig"), path.open(newline="", encoding="utf-8-sig") as file:
            check_separator(path, separator)
            reader = csv.DictReader(file, delimiter=separator)
            rows = list(reader)
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {error}") from error
    if not rows:
        raise UserError(f"{path} has no rows below its header")
    names = [name.strip() for name in reader.fieldnames or ()]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise UserError(f"{path} has several columns called {', '.join(map(repr, twice))}: rename them")
    if longer := [number for number, row in enumerate(rows, 1) if None in row]:
        raise UserError(f"{path}: row {longer[0]} has more cells than the header")
    return rows


def read_rows(
    path: Path, rows: Sequence[Mapping[str, str]], model: "TrainedModel", batch_size: int = 256, skip: bool = False
) -> Iterator[Named]:
    """Read the inputs of a table's rows.

    Args:
        path: of the table; files in it are relative to it.
        rows: cells by column: ``path``, a value of each pixel (0..255), or of each number of a vector; for a model of
            tables or texts the columns used in training, by name.
        model: provides the shape of its inputs.
        batch_size, skip: see :func:`read_given`.

    Raises:
        UserError: a row has the wrong number of values, or a value that is not a number or out of range.
    """
    if model.spec.modality == "table":
        import pandas as pd

        table = pd.DataFrame([{name.strip(): cell for name, cell in row.items()} for row in rows])
        yield from _rows_of_table(table, path, model, batch_size)
        return
    if model.spec.modality == "text":
        import pandas as pd

        texts = texts_of_rows(pd.DataFrame(rows), path, model)
        yield from (Named(*batch) for batch in batches_of_texts(texts, model, batch_size))
        return
    if model.spec.modality == "audio":
        if "path" not in rows[0]:
            raise UserError(f"{path} has no column 'path' with recordings; {nearest('path', rows[0], in_order=True)}")
        names = [row["path"] for row in rows]
        files = [path.parent / name for name in names]
        yield from (Named(*batch) for batch in batches_of_recordings(names, files, model, batch_size, skip))
        return
    channels, height, width = model.shape
    vectors = model.spec.modality == "vector"
    if "path" in rows[0] and not vectors:
        yield from read_files(ImageFiles(path.parent, [row["path"] for row in rows]), model, batch_size, skip)
        return
    if vectors and len(rows[0]) != channels:
        raise UserError(f"{path} has {counted(len(rows[0]), 'column')}; give the {channels} values of each vector")
    if len(rows[0]) != channels * height * width:
        raise UserError(
            f"{path} has {counted(len(rows[0]), 'column')}; give a column 'path' with images, or the "
            f"{channels}x{height}x{width} = {channels * height * width} values of each image"
        )
    try:
        values = torch.tensor([[float(value) for value in row.values()] for row in rows])
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} contains a value that is not a number: {error}") from error
    if not bool(values.isfinite().all()):
        raise UserError(f"{path} has NaN or infinity in row {int((~values.isfinite()).any(1).nonzero()[0, 0]) + 1}")
    for start, named in zip(range(0, len(values), batch_size), _cut(values, batch_size), strict=True):
        x = cast(Tensor, named.x)
        yield (
            named
            if vectors
            else Named(named.names, pixel_values(x.view(-1, channels, height, width), str(path), start))
        )
