"""Read tables from csv, tsv, jsonl and parquet files."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path

import pandas as pd

from tl_lab.data.encodings import decoded
from tl_lab.errors import UserError
from tl_lab.texts import listed

__all__ = [
    "ENDINGS",
    "SEPARATORS",
    "check_separator",
    "marked",
    "parsing",
    "read_table",
    "refuse_empty",
    "refuse_no_rows",
    "refuse_spreadsheet",
]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Separator of cells by file name extension."""
ENDINGS = (*SEPARATORS, ".jsonl", ".parquet")
"""File name extensions of tables."""
_FIRST_ROWS, _FIRST_LINES = 5, 50  # that show the separator
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_RAGGED = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_NO_PARQUET = re.compile(r"^Could not open Parquet input source '.*': ")


def read_table(path: Path, encoding: str = "utf-8", option: str | None = "data.encoding") -> pd.DataFrame:
    """Read a table; cells of csv and tsv files remain strings.

    Args:
        path: a file that ends in .csv, .tsv, .jsonl or .parquet.
        encoding: encoding of a text file; a byte order mark is skipped.
        option: that sets the encoding; None if the file has to be in this one.

    Returns:
        A table with at least one row.

    Raises:
        UserError: the extension is unknown, the file is damaged or in another encoding, it has no rows, or a row has
            more cells than the header.
    """
    kind = path.suffix.lower()
    refuse_spreadsheet(path)
    if kind not in ENDINGS:
        where = "" if option is None else "data.path: "
        endings = ", ".join(ENDINGS)
        raise UserError(f"{where}{path} ends in {kind or 'nothing'}, but tables end in {endings}: convert or rename it")
    table = _read(path, kind, encoding, option)
    refuse_no_rows(len(table), path)
    return table


def _read(path: Path, kind: str, encoding: str, option: str | None) -> pd.DataFrame:
    with parsing(path, encoding, option):
        if kind == ".parquet":
            return pd.read_parquet(path).reset_index(drop=True)  # a stored index may count anything
        if kind == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, encoding=marked(encoding))
        # given a header, pandas would rename columns, and use the first as index if rows have one more cell than it
        return _with_header(
            pd.read_csv(
                path,
                sep=SEPARATORS[kind],
                header=None,
                dtype=str,
                keep_default_na=False,
                encoding=marked(encoding),
            )
        )
    raise AssertionError  # unreachable: parsing() never suppresses an error


def marked(encoding: str) -> str:
    """Return the variant of an encoding that skips a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding


@contextmanager
def parsing(path: Path, encoding: str, option: str | None = "data.encoding") -> Iterator[None]:
    """Replace errors of parsers by a message of one sentence.

    Args:
        path: path of the table.
        encoding: encoding of a text file.
        option: that sets the encoding; None if the file has to be in this one.

    Raises:
        UserError: the file is damaged, in another encoding or has another separator, or a library is missing.
    """
    text = path.suffix.lower() != ".parquet"
    try:
        with decoded(path, marked(encoding), option) if text else nullcontext():
            if (separator := SEPARATORS.get(path.suffix.lower())) is not None:
                check_separator(path, separator, encoding)
            yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"{path}: parquet needs the library pyarrow: install tl_lab[text]") from error
    except (ValueError, OSError, LookupError) as error:
        message = _NO_PARQUET.sub("", str(error).splitlines()[0])
        if path.suffix.lower() == ".jsonl":
            message = _damaged_line(path, encoding) or message
        if isinstance(error, pd.errors.EmptyDataError):
            message = "it is empty"
        if found := _RAGGED.search(message):
            message = f"line {found[2]} has {found[3]} cells, but the header has {found[1]}"
        raise UserError(f"{path} cannot be read as a table ({message})") from error


def check_separator(path: Path, separator: str, encoding: str = "utf-8") -> None:
    """Refuse a table whose cells are separated by another character, as its first rows show.

    They are cells if each row has the same number of them, and those of the header do not begin with a space, as the
    words of a sentence do: ``City, state`` is a single column.

    Args:
        path: path of the table.
        separator: of the cells by the file's extension.
        encoding: encoding of the file.

    Raises:
        UserError: the header is a single cell that another character separates.
    """
    with path.open(encoding=marked(encoding), newline="") as file:
        start = [*islice((line for line in file if line.strip(" \r\n")), _FIRST_LINES)]
    if not start or len(next(iter(_rows(start, separator)), [])) > 1:
        return
    for other, name in _NAMES.items():
        header, *others = _rows(start, other) or [[]]
        same = len(header) > 1 and all(len(row) == len(header) for row in others)
        if other != separator and same and not any(cell.startswith(" ") for cell in header[1:]):
            wanted = {ending: sign for ending, sign in SEPARATORS.items() if sign == other}
            remedy = f"let its name end in {next(iter(wanted))}, or save" if wanted else "save"
            raise UserError(
                f"{path} is separated by {name}, not by {_NAMES[separator]}: {remedy} it with {_NAMES[separator]} (in "
                f"Python: pandas.read_csv(path, sep={other!r}).to_csv(new_path, sep={separator!r}, index=False); for "
                "numbers such as 3,5 add decimal=',' to read_csv)"
            )


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Split the first rows, some of which may extend over several lines."""
    with suppress(csv.Error):
        return [*islice((row for row in csv.reader(lines, delimiter=separator) if row), _FIRST_ROWS)]
    return []


def refuse_spreadsheet(path: Path) -> None:
    """Refuse a file of a spreadsheet program.

    Raises:
        UserError: the name of the file ends like one.
    """
    if path.suffix.lower() in _SPREADSHEETS:
        raise UserError(
            f"{path} is a spreadsheet, and tables end in {', '.join(ENDINGS)}: save the sheet as CSV with commas"
        )


def _damaged_line(path: Path, encoding: str) -> str:
    """Describe the first line that is not JSON; empty if there is none."""
    with suppress(OSError, UnicodeDecodeError), path.open(encoding=marked(encoding), newline="\n") as file:
        for number, line in enumerate(file, 1):
            try:
                json.loads(line.strip() or "0", strict=False)
            except ValueError as error:
                return f"line {number}: {error}"
    return ""


def refuse_no_rows(count: int, path: Path) -> None:
    """Refuse a table without rows.

    Raises:
        UserError: the number of rows is 0.
    """
    if count == 0:
        raise UserError(f"{path} has no rows{' below its header' if path.suffix.lower() in SEPARATORS else ''}")


def refuse_empty(rows: Sequence[int], count: int, name: str, path: Path) -> None:
    """Reject a table with empty texts.

    Args:
        rows: numbers of the rows with an empty text.
        count: total number of rows.
        name: name of the column.
        path: path of the table.

    Raises:
        UserError: there are rows with an empty text.
    """
    if rows:
        raise UserError(
            f"{path}: column {name!r} is empty in {len(rows):,} of {count:,} rows "
            f"({listed(map(str, rows))}): fill them or leave these rows out"
        )


def _with_header(cells: pd.DataFrame) -> pd.DataFrame:
    """Use the first row as the columns' names, and drop columns that have neither a name nor a cell."""
    table = cells.iloc[1:].reset_index(drop=True)
    table.columns = cells.iloc[0].tolist()
    kept = [bool(name.strip()) or bool((table.iloc[:, i] != "").any()) for i, name in enumerate(table.columns)]
    return table.loc[:, kept]
