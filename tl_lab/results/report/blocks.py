"""The building blocks of reports, independent of the format: sections with paragraphs, tables and figures.

This module does not import torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tl_lab.results.names import format_metric
from tl_lab.results.tables.statistics import FEWEST_SEEDS

__all__ = ["Cell", "Picture", "Row", "Section", "Table", "few_said", "format_summary", "plain_cell", "said_p"]


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: displayed text.
        mark: ``best``, ``level``, ``worse``, ``unknown``, ``good``, ``bad``, or nothing.
        value: sort key; None for its text.
    """

    text: str
    mark: str = ""
    value: float | None = None


Row = Sequence[str | Cell]
"""A row of a table; a plain text is a cell without a mark."""


class Table(NamedTuple):
    """Rows of cells under a caption, which describes the table. Cells from column ``numbers_from`` on are numbers."""

    head: Sequence[str]
    rows: Sequence[Row]
    numbers_from: int | None = None
    caption: str = ""


class Picture(NamedTuple):
    """A figure of the report, by its name."""

    name: str
    caption: str


@dataclass
class Section:
    """A part of the report with a title: paragraphs (with backquotes around code), tables and figures.

    Args:
        title: its heading.
        parts: parts in order.
        level: level of the heading, 2 or 3.
        page_only: too long for plain text.
        folded: collapsed where the format allows it.
    """

    title: str
    parts: list[str | Table | Picture] = field(default_factory=list)
    level: int = 2
    page_only: bool = False
    folded: bool = False


def said_p(p: float | None) -> Cell:
    """Format a p-value; None if nothing was tested."""
    return Cell("-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001", value=p)


def few_said(counts: Iterable[float], otherwise: str = "", before: str = "") -> str:
    """Explain the notation for means of two values, which are too few for an interval.

    Args:
        counts: numbers of values of the means in a table.
        otherwise: explanation if no mean is of two values.
        before: text that joins the explanation to the preceding words.
    """
    said = f"no interval below n = {FEWEST_SEEDS}: both values of two in parentheses"
    return f"{before}{said}" if 2 in set(counts) else otherwise


def format_summary(row: Mapping[str, Any], name: str) -> str:
    """Format a metric of a row of :func:`tl_lab.results.tables.summarising.summarise`: mean, and interval or values."""
    return format_metric(name, row[f"{name} mean"], row[f"{name} ci95"], (row[f"{name} low"], row[f"{name} high"]))


def plain_cell(value: Any) -> str:
    """Format a value of a data frame: whole numbers without a decimal point, an empty text for a missing one."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
