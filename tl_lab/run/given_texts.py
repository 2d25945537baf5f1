"""Texts as inputs of a prediction: text files, folders of them, and tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.finding import files_below
from tl_lab.data.inputs.texts import TEXT_TYPES
from tl_lab.errors import UserError
from tl_lab.texts import printable

if TYPE_CHECKING:
    import pandas as pd

    from tl_lab.run.inference import TrainedModel

__all__ = ["batches_of_files", "batches_of_texts", "read_text_paths", "table_of_texts", "texts_of_rows"]


def read_text_paths(paths: Sequence[Path], model: "TrainedModel", batch_size: int) -> Iterator[tuple[list[str], Any]]:
    """Read texts in batches.

    Args:
        paths: a table; or text files, and folders of them, which are searched recursively.
        model: provides the tokeniser, the encoding, and the columns of a table.
        batch_size: texts in a batch.

    Yields:
        Names and tokens.

    Raises:
        UserError: there are no texts, one cannot be read or is empty, or a table is not the only input.
    """
    tables = [path for path in paths if not path.is_dir() and path.suffix.lower() not in TEXT_TYPES]
    if tables and len(paths) > 1:
        raise UserError(f"{tables[0]} is a table, which must be the only input: leave the other paths out")
    if tables:
        table = table_of_texts(tables[0], model)
        yield from batches_of_texts(texts_of_rows(table, tables[0], model), model, batch_size)
        return
    names = [name for path in paths for name in _names_of(path)]
    yield from batches_of_files(names, list(map(Path, names)), model, batch_size)


def batches_of_files(
    names: Sequence[str], files: Sequence[Path], model: "TrainedModel", batch_size: int = 256
) -> Iterator[tuple[list[str], Any]]:
    """Read and tokenise text files in batches.

    Args:
        names: displayed names of the files.
        files: their paths.
        model, batch_size: see :func:`read_text_paths`.
    """
    encoding = model.reading.get("encoding", "utf-8")
    texts = [read_text(file, encoding).strip() for file in files]
    if empty := [file for file, text in zip(files, texts, strict=True) if not text]:
        raise UserError(f"{printable(str(empty[0]))} contains no text: fill it or leave it out")
    for (_, x), start in zip(batches_of_texts(texts, model, batch_size), range(0, len(texts), batch_size), strict=True):
        yield [printable(name) for name in names[start : start + batch_size]], x


def batches_of_texts(texts: Sequence[Any], model: "TrainedModel", batch_size: int) -> Iterator[tuple[list[str], Any]]:
    """Tokenise texts, or pairs of texts, in batches that are named by numbers from 0."""
    spec: Any = model.spec
    whole = [text if isinstance(text, str) else tuple(text) for text in texts]
    for start in range(0, len(whole), batch_size):
        part = whole[start : start + batch_size]
        yield [str(start + i) for i in range(len(part))], spec.fit(part)


def table_of_texts(path: Path, model: "TrainedModel") -> "pd.DataFrame":
    """Read a table whose cells remain strings.

    Raises:
        UserError: there is no such table, or it cannot be read.
    """
    from tl_lab.data.inputs.table import cells_of
    from tl_lab.data.sets.table_files import read_table

    if not path.is_file():
        raise UserError(f"there is no folder or file {path} to predict")
    table = read_table(path, model.reading.get("encoding", "utf-8"))
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(cells_of)


def texts_of_rows(table: "pd.DataFrame", path: Path, model: "TrainedModel") -> list[Any]:
    """Return the text of each row, or its pair of texts, from the columns used in training."""
    from tl_lab.data.sets.text_table import texts_of

    return texts_of(table, model.reading.get("text_column", ["text"]), path)


def _names_of(path: Path) -> list[str]:
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"there is no folder or file {path} to predict")
        return [str(path)]
    found = [str(path / name) for name in files_below(path, TEXT_TYPES)]
    if not found:
        raise UserError(f"{path} contains no texts ({', '.join(sorted(TEXT_TYPES))})")
    return found
