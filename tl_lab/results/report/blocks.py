"""What reports are made of: sections with paragraphs, tables and figures, for whichever writer.

Nothing here imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Cell", "Picture", "Row", "Section", "Table", "plain_cell", "said_p"]


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what it says.
        mark: ``best``, ``level``, ``worse``, ``unknown``, ``good``, ``bad``, or nothing.
        value: what it is sorted by; None for its text.
    """

    text: str
    mark: str = ""
    value: float | None = None


Row = Sequence[str | Cell]
"""A row of a table; a plain text is a cell without a mark."""


class Table(NamedTuple):
    """Rows of cells. From column ``numbers_from`` on cells are numbers."""

    head: Sequence[str]
    rows: Sequence[Row]
    numbers_from: int | None = None


class Picture(NamedTuple):
    """A figure of the report, by its name."""

    name: str
    caption: str


@dataclass
class Section:
    """A part of the report with a title: paragraphs (with backquotes around code), tables and figures.

    Args:
        title: its heading.
        parts: in their order.
        level: of the heading, 2 or 3.
        page_only: too long for plain text.
        folded: shown on demand where that is possible.
    """

    title: str
    parts: list[str | Table | Picture] = field(default_factory=list)
    level: int = 2
    page_only: bool = False
    folded: bool = False


def said_p(p: float | None) -> Cell:
    """Write a p-value; None where nothing was tested."""
    return Cell("-" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001", value=p)


def plain_cell(value: Any) -> str:
    """Write a value of a data frame, whole numbers without a point, nothing for a missing one."""
    if value is None or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
