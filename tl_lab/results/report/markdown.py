"""Write ``summary.md``: the report as Markdown that is also legible as plain text.

This module does not import torch.
"""

from collections.abc import Sequence

from tl_lab.results.report.blocks import Cell, Picture, Section, Table
from tl_lab.results.report.cells import markdown_text
from tl_lab.results.report.sections_of_tasks import crossed_parts
from tl_lab.results.tables.reproduction import Crossed, Reproduces

__all__ = ["crossed_sections", "markdown"]


def markdown(sections: Sequence[Section]) -> str:
    """Write a report as Markdown, without sections that are too long for plain text.

    Args:
        sections: sections of the report, the first of which is the summary.
    """
    first, *others = [section for section in sections if not section.page_only]
    return "\n\n".join([f"# {markdown_text(first.title)}", *_parts(first), *_written(others)]) + "\n"


def crossed_sections(found: tuple[Crossed, str, str] | None, expected: Reproduces | None) -> list[str]:
    """Write methods by tasks, the comparison with the paper, and the comparison of methods in Markdown.

    Args:
        found: result of :func:`tl_lab.results.tables.summarising.find_crossed`.
        expected: published values for the experiment.

    Returns:
        Paragraphs; empty without a table.
    """
    return _written(crossed_parts(found, expected))


def _written(sections: Sequence[Section]) -> list[str]:
    return [text for section in sections for text in (f"## {markdown_text(section.title)}", *_parts(section))]


def _parts(section: Section) -> list[str]:
    return [
        _table(part)
        if isinstance(part, Table)
        else f"![{markdown_text(part.caption)}](figures/{part.name}.png)"
        if isinstance(part, Picture)
        else markdown_text(part)
        for part in section.parts
    ]


def _cell(cell: str | Cell) -> str:
    """Format a cell of a Markdown table."""
    text, mark = (cell.text, cell.mark) if isinstance(cell, Cell) else (cell, "")
    text = " ".join(markdown_text(text).replace("|", "\\|").split())
    return f"**{text}**" if mark == "best" else f"{text} ≈" if mark == "level" else text


def _table(table: Table) -> str:
    """Format a Markdown table whose columns are also aligned as plain text."""
    head, *rows = [[_cell(cell) for cell in row] for row in [table.head, *table.rows]]
    widths = [max(3, *(len(row[i]) for row in [head, *rows])) for i in range(len(head))]
    right = [table.numbers_from is not None and i >= table.numbers_from for i in range(len(head))]
    lines = [
        head,
        ["-" * (width - 1) + ":" if r else "-" * width for width, r in zip(widths, right, strict=True)],
        *rows,
    ]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)) + " |"
        for line in lines
    )
