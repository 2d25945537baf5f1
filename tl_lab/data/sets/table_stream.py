"""Read tables of texts larger than memory part by part, and store them in files of the cache."""

import json
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tl_lab.data.cache import cached_folder
from tl_lab.data.inputs.stored_texts import StoredTexts, TextStore, TextsWriter
from tl_lab.data.inputs.table import cells_of
from tl_lab.data.sets.columns import check_columns
from tl_lab.data.sets.table_files import SEPARATORS, marked, parsing, refuse_empty, refuse_no_rows

__all__ = ["IrregularTable", "stored_table"]

_ROWS = 4096  # number of rows in memory at a time


class IrregularTable(Exception):
    """The table cannot be read part by part, because texts are numbers or cells are lists."""


class _Needed(NamedTuple):
    """The columns to read.

    Attributes:
        texts: column with the text, or the two columns of a pair.
        others: pairs of an option that names further columns, and these columns.
    """

    texts: Sequence[str]
    others: Sequence[tuple[str, Sequence[str]]]

    @property
    def names(self) -> list[str]:
        """Names of the further columns, without repetition."""
        return list(dict.fromkeys(name for _, columns in self.others for name in columns))

    def check(self, known: Sequence[str], path: Path) -> None:
        """Check that a table has these columns."""
        for option, names in (("text_column", self.texts), *self.others):
            check_columns(pd.DataFrame(columns=list(known)), option, names, path)


class _Part(NamedTuple):
    """Some rows of a table.

    Attributes:
        texts: cells of each column with texts.
        others: cells of further columns, as written in the file; empty if these are read separately.
    """

    texts: list[list[str]]
    others: Mapping[str, Sequence[str]]


def stored_table(
    path: Path, encoding: str, text_columns: Sequence[str], others: Sequence[tuple[str, Sequence[str]]]
) -> tuple[StoredTexts, pd.DataFrame]:
    """Read a table part by part; the result is cached by version of the file and by columns.

    Args:
        path: path of the table.
        encoding: encoding of a text file.
        text_columns: name of the column with texts, or names of the two columns of pairs.
        others: pairs of an option that names further columns, and these columns.

    Returns:
        The texts, stored in files, and a table of the further columns, in memory as categorical columns.

    Raises:
        UserError: the table is damaged, a column is missing, or a text is empty.
        IrregularTable: the table must be read as a whole.
    """
    needed, stat = _Needed(text_columns, others), path.stat()
    # the change time reveals an edited file whose modification time was restored
    times = {"time": stat.st_mtime_ns, "changed": stat.st_ctime_ns}
    file = {"path": str(path.resolve()), "size": stat.st_size, **times, "encoding": encoding}
    key = {**file, "texts": list(text_columns), "others": needed.names, "version": 1}
    folder = cached_folder("text-table", key, lambda folder: _write(folder, path, encoding, needed))
    columns = {}
    for number, name in enumerate(needed.names):
        cells = pd.Index(json.loads((folder / f"cells-{number}.json").read_text()), dtype=object)
        columns[name] = pd.Categorical.from_codes(np.load(folder / f"codes-{number}.npy"), cells)
    return StoredTexts(TextStore(folder, len(text_columns))), pd.DataFrame(columns)


def _write(folder: Path, path: Path, encoding: str, needed: _Needed) -> None:
    """Write the texts and, for each further column, its distinct cells and the number of each row's cell."""
    kind = path.suffix.lower()
    read = {".jsonl": _read_lines, ".parquet": _read_parquet}.get(kind, _read_delimited)
    distinct = {name: _Distinct() for name in needed.names}
    empty: list[list[int]] = [[] for _ in needed.texts]
    count = 0
    with TextsWriter(folder) as texts:
        for part in read(path, encoding, needed):
            for found, column in zip(empty, part.texts, strict=True):
                found += [count + row for row, text in enumerate(column, 1) if not text.strip()]
            texts.add(part.texts[0] if len(part.texts) == 1 else list(zip(*part.texts, strict=True)))
            for name, rows in part.others.items():
                distinct[name].add(rows)
            count += len(part.texts[0])
    refuse_no_rows(count, path)
    for name, found in zip(needed.texts, empty, strict=True):
        refuse_empty(found, count, name, path)
    for number, (name, cells_in) in enumerate(distinct.items()):
        if kind == ".parquet":
            with parsing(path, encoding):
                column = pd.read_parquet(path, columns=[name])[name]
            codes, values = pd.factorize(column, use_na_sentinel=False)
            cells = cells_of(pd.Series(values))
        else:
            codes = cells_in.codes()
            with parsing(path, encoding):
                cells = _inferred(name, [*cells_in.numbers]) if kind == ".jsonl" else cells_in.cells()
        numbers, once = pd.factorize(cells)  # distinct cells may become equal without surrounding white space
        np.save(folder / f"codes-{number}.npy", numbers.astype(np.int32)[codes])
        (folder / f"cells-{number}.json").write_text(json.dumps(list(once)))


class _Distinct:
    """The distinct cells of a column, numbered by first occurrence, and the number of each row's cell."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self._codes: list[np.ndarray] = []

    def add(self, cells: Sequence[str]) -> None:
        """Append rows."""
        numbers = self.numbers
        self._codes.append(np.fromiter((numbers.setdefault(cell, len(numbers)) for cell in cells), np.int32))

    def codes(self) -> np.ndarray:
        """Return the number of each row's cell, ``(N,)`` int32."""
        return np.concatenate([np.empty(0, np.int32), *self._codes])

    def cells(self) -> pd.Series:
        """Return the distinct cells, without surrounding white space."""
        return cells_of(pd.Series([*self.numbers], dtype=object))


# ---------------------------------------------------------------------- csv and tsv


def _read_delimited(path: Path, encoding: str, needed: _Needed) -> Iterator[_Part]:
    options: dict[str, Any] = {"sep": SEPARATORS[path.suffix.lower()], "encoding": marked(encoding)}
    options |= {"header": None, "dtype": str, "keep_default_na": False, "chunksize": _ROWS}
    with parsing(path, encoding), pd.read_csv(path, **options) as parts:
        names: list[str] = []
        for part in parts:
            cells = part.fillna("")  # rows shorter than the header
            if not names:
                names, cells = cells.iloc[0].tolist(), cells.iloc[1:]
                needed.check([name for name in names if name.strip()], path)
            columns = {name: cells.iloc[:, names.index(name)].tolist() for name in (*needed.texts, *needed.names)}
            yield _Part([columns[name] for name in needed.texts], {name: columns[name] for name in needed.names})


# ---------------------------------------------------------------------- jsonl


class _Number(str):
    """A number as written in the file."""


_DECODER = json.JSONDecoder(parse_float=_Number, strict=False)


def _read_lines(path: Path, encoding: str, needed: _Needed) -> Iterator[_Part]:
    known: dict[str, None] = {}
    with parsing(path, encoding), path.open(encoding=marked(encoding), newline="\n") as file:
        while lines := list(islice(file, _ROWS)):
            rows = _records(lines)
            for row in rows:
                known.update(dict.fromkeys(row))
            texts = [[_text_in(row, name) for row in rows] for name in needed.texts]
            yield _Part(texts, {name: [_json_in(row, name) for row in rows] for name in needed.names})
        refuse_no_rows(len(known), path)
        needed.check([*known], path)


def _records(lines: Sequence[str]) -> list[dict[str, Any]]:
    try:
        rows = [_DECODER.decode(line) for line in lines if line.strip()]
    except ValueError as error:
        pd.read_json(StringIO("".join(lines)), lines=True, dtype=False)  # raises pandas' own description of the error
        raise IrregularTable from error
    if not all(isinstance(row, dict) for row in rows):
        raise IrregularTable
    return rows


def _text_in(row: Mapping[str, Any], name: str) -> str:
    text = row.get(name)
    if text is None:
        return ""
    if type(text) is not str:
        raise IrregularTable
    return text


def _json_in(row: Mapping[str, Any], name: str) -> str:
    """Return a cell as written in the file; empty if it is absent."""
    if name not in row:
        return ""
    cell = row[name]
    if isinstance(cell, dict | list):
        raise IrregularTable
    return str(cell) if isinstance(cell, _Number) else json.dumps(cell)


def _inferred(name: str, cells: Sequence[str]) -> pd.Series:
    """Let pandas infer the type of a column from its distinct cells, which determine it."""
    lines = [f"{{{json.dumps(name)}: {cell}}}" if cell else "{}" for cell in cells]
    return cells_of(pd.read_json(StringIO("\n".join(lines)), lines=True, dtype=False).iloc[:, 0])


# ---------------------------------------------------------------------- parquet


def _read_parquet(path: Path, encoding: str, needed: _Needed) -> Iterator[_Part]:
    with parsing(path, encoding):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            needed.check([*file.schema_arrow.empty_table().to_pandas().columns], path)
            for rows in file.iter_batches(_ROWS, columns=list(needed.texts)):
                texts = [[cell or "" for cell in rows.column(name).to_pylist()] for name in needed.texts]
                if not all(isinstance(text, str) for column in texts for text in column):
                    raise IrregularTable
                yield _Part(texts, {})
