"""The building blocks of reports, independent of the format: sections with paragraphs, tables and figures.

This module does not import torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tl_lab.results.names import format_metric
from tl_lab.results.tables.statistics import FEWEST_SEEDS

__all__ = ["Cell", "Picture", "Row", "Section", "Table", "few_seeds_note", "format_summary", "p_cell", "plain_cell"]


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: displayed text.
        mark: ``best``, ``level``, ``worse``, ``unknown``, ``good``, ``bad``, or empty.
        value: sort key; None to sort by the text.
    """

    text: str
    mark: str = ""
    value: float | None = None


Row = Sequence[str | Cell]
"""A row of a table; a plain string is a cell without a mark."""


class Table(NamedTuple):
    """Rows of cells with a caption that describes the table; the columns from ``numbers_from`` on contain numbers."""

    head: Sequence[str]
    rows: Sequence[Row]
    numbers_from: int | None = None
    caption: str = ""


class Picture(NamedTuple):
    """A figure of the report, given by its name."""

    name: str
    caption: str


@dataclass
class Section:
    """A section of the report: paragraphs (with backquotes around code), tables and figures under a title.

    Args:
        title: heading of the section.
        parts: its parts in order.
        level: level of the heading, 2 or 3.
        page_only: whether the section is too long for plain text, and only in the HTML page.
        folded: whether the section is collapsed if the format permits it.
    """

    title: str
    parts: list[str | Table | Picture] = field(default_factory=list)
    level: int = 2
    page_only: bool = False
    folded: bool = False


def p_cell(p: float | None) -> Cell:
    """Format a p-value, which is None if nothing was tested."""
    return Cell("-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001", value=p)


def few_seeds_note(counts: Iterable[float], otherwise: str = "", before: str = "") -> str:
    """Explain the notation for means of two values, which are too few for an interval.

    Args:
        counts: number of values of each mean in a table.
        otherwise: text to return if no mean is of two values.
        before: text before the explanation.
    """
    text = f"no interval below n = {FEWEST_SEEDS}; for n = 2, both values are in parentheses"
    return f"{before}{text}" if 2 in set(counts) else otherwise


def format_summary(row: Mapping[str, Any], name: str) -> str:
    """Format a metric in a row of :func:`tl_lab.results.tables.summarising.summarise`: mean with interval or values."""
    return format_metric(name, row[f"{name} mean"], row[f"{name} ci95"], (row[f"{name} low"], row[f"{name} high"]))


def plain_cell(value: Any) -> str:
    """Format a value of a data frame: integers without a decimal point, and missing values as an empty text."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
