"""Texts as inputs of a prediction: text files, folders of them, and tables."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.finding import files_below
from tl_lab.data.inputs.texts import TEXT_TYPES
from tl_lab.errors import UserError
from tl_lab.texts import listed, printable

if TYPE_CHECKING:
    import pandas as pd

    from tl_lab.run.inference import TrainedModel

__all__ = ["batches_of_files", "batches_of_texts", "cells_at", "read_text_paths", "texts_of_rows"]


def read_text_paths(
    paths: Sequence[Path], model: "TrainedModel", batch_size: int, skip: bool = False
) -> Iterator[tuple[list[str], Any]]:
    """Read texts in batches.

    Args:
        paths: a table; or text files, and folders of them, which are searched recursively.
        model: provides the tokeniser, the encoding, and the columns of a table.
        batch_size: texts in a batch.
        skip: skip files that are empty or cannot be read with a warning that names them, instead of stopping.

    Yields:
        Names and tokens.

    Raises:
        UserError: there are no texts, one cannot be read or is empty, or a table is not the only input.
    """
    from tl_lab.data.sets.table_files import ENDINGS, refuse_spreadsheet

    for path in paths:
        if not path.exists():
            raise UserError(f"there is no folder or file {path} to predict")
        refuse_spreadsheet(path)
        if not path.is_dir() and path.suffix.lower() not in (*TEXT_TYPES, *ENDINGS):
            raise UserError(
                f"{path} is neither a text ({', '.join(sorted(TEXT_TYPES))}) nor a table ({', '.join(ENDINGS)})"
            )
    tables = [path for path in paths if not path.is_dir() and path.suffix.lower() not in TEXT_TYPES]
    if tables and len(paths) > 1:
        raise UserError(f"{tables[0]} is a table, which must be the only input: leave the other paths out")
    if tables:
        table = cells_at(tables[0], model)
        yield from batches_of_texts(texts_of_rows(table, tables[0], model), model, batch_size)
        return
    names = [name for path in paths for name in _names_of(path)]
    yield from batches_of_files(names, list(map(Path, names)), model, batch_size, skip)


def batches_of_files(
    names: Sequence[str], files: Sequence[Path], model: "TrainedModel", batch_size: int = 256, skip: bool = False
) -> Iterator[tuple[list[str], Any]]:
    """Read and tokenise text files in batches.

    Args:
        names: displayed names of the files.
        files: their paths.
        model, batch_size, skip: see :func:`read_text_paths`.

    Raises:
        UserError: the model takes pairs of texts; or a file cannot be read, is empty, or all are.
    """
    _refuse_single(model)
    texts: dict[str, str] = {}
    wrong: list[str] = []
    for name, file in zip(names, files, strict=True):
        try:
            text = read_text(file, model.reading.get("encoding", "utf-8")).strip()
            if not text:
                raise UserError(f"{printable(str(file))} contains no text: fill it or leave it out")
            texts[printable(name)] = text
        except UserError as error:
            if not skip:
                raise
            wrong.append(str(error))
    if wrong:
        warnings.warn(f"skipped: {len(wrong)} of {len(names)} texts: {listed(wrong)}", stacklevel=2)
    if not texts:
        raise UserError(f"none of the {len(names)} texts can be read")
    shown = list(texts)
    batches = batches_of_texts([*texts.values()], model, batch_size)
    for (_, x), start in zip(batches, range(0, len(shown), batch_size), strict=True):
        yield shown[start : start + batch_size], x


def _refuse_single(model: "TrainedModel") -> None:
    columns = model.reading.get("text_column", ["text"])
    if len(columns) > 1:
        raise UserError(
            f"the model takes pairs of texts: give a table with the columns {' and '.join(columns)}, or in Python a "
            "list of pairs"
        )


def batches_of_texts(texts: Sequence[Any], model: "TrainedModel", batch_size: int) -> Iterator[tuple[list[str], Any]]:
    """Tokenise texts, or pairs of texts, in batches that are named by numbers from 0."""
    spec: Any = model.spec
    if any(isinstance(text, str) for text in texts):
        _refuse_single(model)
    whole = [text if isinstance(text, str) else tuple(text) for text in texts]
    for start in range(0, len(whole), batch_size):
        part = whole[start : start + batch_size]
        yield [str(start + i) for i in range(len(part))], spec.fit(part)


def cells_at(path: Path, model: "TrainedModel") -> "pd.DataFrame":
    """Read a table (csv, tsv, jsonl or parquet); its cells become strings.

    Raises:
        UserError: there is no such table, or it cannot be read.
    """
    from tl_lab.data.inputs.table import cells_of
    from tl_lab.data.sets.table_files import read_table

    if not path.is_file():
        raise UserError(f"there is no folder or file {path} to predict")
    table = read_table(path, model.reading.get("encoding", "utf-8"), option=None)
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(cells_of)


def texts_of_rows(table: "pd.DataFrame", path: Path, model: "TrainedModel") -> list[Any]:
    """Return the text of each row, or its pair of texts, from the columns used in training."""
    from tl_lab.data.sets.text_table import texts_of

    return texts_of(table, model.reading.get("text_column", ["text"]), path)


def _names_of(path: Path) -> list[str]:
    if not path.is_dir():
        return [str(path)]
    found = [str(path / name) for name in files_below(path, TEXT_TYPES)]
    if not found:
        raise UserError(f"{path} contains no texts ({', '.join(sorted(TEXT_TYPES))})")
    return found
