"""The user's own texts, in a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.inputs.table import mixture_of
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.inputs.tokenisers import Text
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.text import OfTexts, TextSet, samples_of
from tl_lab.data.splits import check_shares, random_split, split_in_three
from tl_lab.errors import UserError, nearest
from tl_lab.options import Fraction
from tl_lab.problems import Problem, Regression, SingleLabel
from tl_lab.texts import listed

__all__ = [
    "TableOfTexts",
    "TextTable",
    "check_columns",
    "labels_of",
    "numbers_of",
    "read_table",
    "sorted_labels",
    "texts_of",
    "three_parts",
    "times_of",
]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


class TableOfTexts(OfTexts):
    """Reads the rows of a table.

    Args:
        options: arguments of the other base class.
    """

    place_options = ("path",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    @classmethod
    def problem_for(cls, node: Mapping[str, Any]) -> type[Problem]:
        """Choose classification or regression."""
        return Regression if node.get("predict") == "numbers" else SingleLabel

    def take(
        self,
        path: str | None,
        text_column: str | Sequence[str],
        label_column: str,
        val_share: float,
        test_share: float,
        encoding: str,
        predict: str,
    ) -> None:
        """Check and store the options for reading the table.

        Raises:
            UserError: one is missing or out of range.
        """
        if path is None:
            raise UserError("data.path: give the table, a file that ends in " + " or ".join(_ENDINGS))
        columns = [text_column] if isinstance(text_column, str) else [*text_column]
        if len(columns) not in (1, 2):
            raise UserError(f"data.text_column must be one column, or two for pairs of texts, not {len(columns)}")
        check_shares(val_share, test_share)
        self.path, self.text_columns, self.label_column = path, columns, label_column
        self.val_share, self.test_share, self.encoding = val_share, test_share, encoding
        self.problem_kind = self.problem_for({"predict": predict})
        self.problem = self.problem_kind(())

    @property
    def reading(self) -> dict[str, Any]:
        """Return the columns with the texts, and the encoding."""
        return {"text_column": self.text_columns, "encoding": self.encoding}

    def rows(self, *further: tuple[str, str]) -> tuple[Samples, dict[str, list[str]]]:
        """Read the table.

        Args:
            further: options that name further columns, and these columns.

        Returns:
            Texts with their labels, and the cells of the further columns by option.

        Raises:
            UserError: the file, a column or a label is missing or damaged.
        """
        path = next((place for place in places_of(self.path) if place.is_file()), None)
        if path is None:
            raise UserError(f"data.path: there is no file {' or '.join(map(str, places_of(self.path)))}")
        table = read_table(path, self.encoding)
        texts = texts_of(table, self.text_columns, path)
        check_columns(table, "label_column", [self.label_column], path)
        if self.problem_kind is Regression:
            self.class_names = [self.label_column]
            samples = Samples(Texts(texts), numbers_of(table[self.label_column], self.label_column, path)[:, None])
        else:
            labels = labels_of(table[self.label_column], self.label_column, path)
            self.class_names = sorted_labels(labels)
            samples = samples_of(texts, [self.class_names.index(label) for label in labels])
        self.contents = [samples.fingerprint()]
        for option, name in further:
            check_columns(table, option, [name], path)
        return samples, {option: [_cell(value).strip() for value in table[name]] for option, name in further}


class TextTable(TableOfTexts, TextSet):
    """A table (csv, tsv, jsonl or parquet) with a text, or two, and a class or a number in each row.

    Args:
        path: of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        text_column: name of the column with the text; a list of two for pairs.
        label_column: name of the column with the class or the number.
        group_column, domain_column: names of columns whose cells number the samples' groups and domains; None for none.
        time_column: name of a column with numbers or dates; None for none.
        predict: ``classes`` or ``numbers``.
        val_share: of all rows, for validation.
        test_share: of all rows, for test.
        encoding: of a text file.
        options: keyword arguments of :class:`~tl_lab.data.sets.text.TextSet`.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        text_column: str | Sequence[str] = "text",
        label_column: str = "label",
        group_column: str | None = None,
        domain_column: str | None = None,
        time_column: str | None = None,
        predict: Literal["classes", "numbers"] = "classes",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.take(path, text_column, label_column, val_share, test_share, encoding, predict)
        named = {"group_column": group_column, "domain_column": domain_column, "time_column": time_column}
        self.further = {option: name for option, name in named.items() if name is not None}

    def read(self) -> dict[str, Samples]:
        """Read the table and split it, stratified by class."""
        samples, further = self.rows(*self.further.items())
        columns = {
            option.removesuffix("_column"): times_of(cells, self.further[option]) if "time" in option else _codes(cells)
            for option, cells in further.items()
        }
        samples = replace(samples, columns=columns)
        if self.problem_kind is Regression:
            return three_parts(samples, self.val_share, self.test_share, self.seed)
        return split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)


def three_parts(samples: Samples, val_share: float, test_share: float, seed: int) -> dict[str, Samples]:
    """Split samples at random, independent of labels.

    Args:
        samples: samples to split.
        val_share: of all samples, for validation.
        test_share: of all samples, for test.
        seed: the run's seed.
    """
    count = len(samples)
    rest, test = random_split(count, max(1, round(test_share * count)), seed, "test")
    train, val = random_split(len(rest), max(1, round(val_share * count)), seed, "val")
    return {"train": samples.subset(rest[train]), "val": samples.subset(rest[val]), "test": samples.subset(test)}


def read_table(path: Path, encoding: str = "utf-8") -> pd.DataFrame:
    """Read a table; cells of csv and tsv files remain strings.

    Args:
        path: a file that ends in .csv, .tsv, .jsonl or .parquet.
        encoding: of a text file; a byte order mark is skipped.

    Raises:
        UserError: the extension is unknown, or the file is damaged or in another encoding.
    """
    kind = path.suffix.lower()
    if kind not in _ENDINGS:
        raise UserError(f"{path} ends in {kind or 'nothing'}: tables end in {', '.join(_ENDINGS)}")
    marked = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        if kind == ".jsonl":
            return pd.read_json(path, lines=True, dtype=False, encoding=marked)
        return pd.read_csv(path, sep=_SEPARATORS[kind], dtype=str, keep_default_na=False, encoding=marked)
    except (UnicodeDecodeError, LookupError) as error:
        raise UserError(f"{path} is not in the encoding {encoding} ({error}): set data.encoding (latin-1)") from error
    except ImportError as error:
        raise UserError(f"{path}: parquet needs the library pyarrow: install tl_lab[text]") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as a table ({str(error).splitlines()[0]})") from error


def check_columns(table: pd.DataFrame, option: str, names: Sequence[str], path: Path) -> None:
    """Check that columns exist.

    Raises:
        UserError: the table lacks one; the message suggests similar names.
    """
    for name in names:
        if name not in table.columns:
            raise UserError(f"data.{option}: {path} has no column {name!r}; {nearest(name, map(str, table.columns))}")


def texts_of(table: pd.DataFrame, names: Sequence[str], path: Path) -> list[Text]:
    """Return each row's text, or its pair of texts.

    Args:
        table: as returned by :func:`read_table`.
        names: of the column, or of two.
        path: of the table, for messages.

    Raises:
        UserError: a column is missing, or a text is empty.
    """
    check_columns(table, "text_column", names, path)
    columns = [table[name].map(_cell).tolist() for name in names]
    for name, texts in zip(names, columns, strict=True):
        if empty := [row for row, text in enumerate(texts, 1) if not text.strip()]:
            raise UserError(
                f"{path}: column {name!r} is empty in {len(empty):,} of {len(texts):,} rows "
                f"({listed(map(str, empty))}): fill them or leave these rows out"
            )
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None or value != value else str(value)


def labels_of(column: Iterable[Any], name: str, path: Path) -> list[str]:
    """Read the classes of a column.

    Args:
        column: its cells.
        name: of the column, for messages.
        path: of the table, likewise.

    Raises:
        UserError: a cell is empty, all are the same, or numbers are mixed with names.
    """
    labels = [_cell(value).strip() for value in column]
    if empty := [row for row, label in enumerate(labels, 1) if not label]:
        raise UserError(
            f"{path}: column {name!r} is empty in {len(empty):,} rows ({listed(map(str, empty))}): fill or remove them"
        )
    if len(set(labels)) < 2:
        raise UserError(f"{path}: column {name!r} has a single class, {labels[0]!r}: at least two are needed")
    if mixed := mixture_of(set(labels)):
        raise UserError(f"{path}: the classes in column {name!r} are {mixed}: write all classes in the same way")
    return labels


def numbers_of(column: pd.Series, name: str, path: Path) -> Tensor:
    """Read the numbers of a column, ``(N,)`` float32.

    Raises:
        UserError: a cell is not a number.
    """
    values = pd.to_numeric(column, errors="coerce")
    if bool(values.isna().any()):
        row = int(values.isna().to_numpy().argmax())
        raise UserError(f"{path}: column {name!r} has {column.iloc[row]!r} in row {row + 1}, which is not a number")
    return torch.tensor(values.to_numpy().astype("float32"))


def _codes(cells: Sequence[str]) -> Tensor:
    """Number the distinct cells in their order."""
    known = {cell: number for number, cell in enumerate(sorted_labels(cells))}
    return torch.tensor([known[cell] for cell in cells])


def times_of(cells: Sequence[str], name: str) -> Tensor:
    """Convert numbers unchanged, and dates to seconds since 1970, ``(N,)`` float64.

    Raises:
        UserError: a cell is neither.
    """
    numbers = pd.to_numeric(pd.Series(cells), errors="coerce")
    if bool(numbers.isna().any()):
        dates = pd.to_datetime(pd.Series(cells), errors="coerce", utc=True, format="mixed")
        if bool(dates.isna().any()):
            wrong = cells[int(dates.isna().to_numpy().argmax())]
            raise UserError(f"data.time_column={name} has {wrong!r}, which is neither a number nor a date")
        numbers = dates.map(lambda date: date.timestamp())
    return torch.tensor(numbers.to_numpy().astype("float64"))


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """List distinct labels: numbers by value, before words."""
    return sorted(set(labels), key=_order)


def _order(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
