"""Write ``report.html``: the report as one self-contained page, with light and dark mode.

This module does not import torch.
"""

import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tl_lab.results.names import duration
from tl_lab.results.report.blocks import Cell, Picture, Section, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["document", "page", "svg", "tiles_of"]

_HERE = Path(__file__).resolve().parent
_MANY_ROWS = 30  # a table with more rows scrolls separately, and can be searched
_SHORT = 40  # largest number of characters of a cell that is never wrapped
_NUMBER = re.compile(r"[+-]?\d|< |-?$")
# greys and dark colours of the figures (tl_lab.results.figures.drawing), which are adapted to light and dark mode
_THEMED = {
    "#ffffff": "surface", "white": "surface", "#222222": "ink", "#1f1f1f": "ink", "#000000": "ink",
    "#6b6b6b": "muted", "#e4e4e4": "line", "#b0b0b0": "axis",
    "#832db6": "violet", "#bd1f01": "red", "#0072b2": "blue",
}  # fmt: skip


def page(title: str, runs: "pd.DataFrame", sections: Sequence[Section], figures: Mapping[str, "Figure"]) -> str:
    """Write a report as a page.

    Args:
        title: title of the page.
        runs: one row per run, for the counts at the top.
        sections: sections of the report, the first of which is the summary.
        figures: figures by name; they are embedded in the page.

    Returns:
        The page as HTML, which loads no external files.
    """
    return document(title, _tiles(runs), sections, figures)


def document(title: str, tiles: str, sections: Sequence[Section], figures: Mapping[str, "Figure"]) -> str:
    """Write sections as a page.

    Args:
        title: title of the page.
        tiles: HTML above the summary, as returned by :func:`tiles_of`.
        sections: the sections, the first of which is the summary.
        figures: figures by name; they are embedded in the page.

    Returns:
        The page as HTML, which loads no external files.
    """
    anchors = {section.title: re.sub(r"\W+", "-", section.title.lower()).strip("-") for section in sections}
    links = "".join(f'<a href="#{anchors[s.title]}">{_text(s.title)}</a>' for s in sections[1:])
    body = "\n".join(_section(section, anchors[section.title], figures) for section in sections[1:])
    summary = "".join(_paragraph(part) for part in sections[0].parts if isinstance(part, str))
    written = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{(_HERE / "report.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<nav aria-label="Sections">{links}</nav>
<main>
<h1>{html.escape(title)}</h1>
<p class="under">Written {written}</p>
{tiles}
{summary}
{body}
</main>
<script>
{(_HERE / "report.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def svg(figure: "Figure", label: str) -> str:
    """Convert a figure to SVG for embedding in a page; text remains text, and greys follow the page's theme.

    Args:
        figure: figure in the project's style.
        label: text alternative for screen readers.
    """
    import matplotlib

    from tl_lab.results.figures.drawing import STYLE, fit_names

    # ids are hashes of the elements; a separate salt per figure keeps the ids of two figures distinct
    drawn, style = io.StringIO(), {**STYLE, "svg.fonttype": "none", "svg.hashsalt": label}
    fit_names(figure, keep=True)  # the reader's browser may have more fonts
    titles = _mark_points(figure)
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _with_titles(text, titles)
    text = re.sub(r"#[0-9a-f]{6}\b|(?<=: )white\b", lambda found: _themed(found[0]), text)
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "system-ui, sans-serif", text)
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])  # type: ignore[index]
    size = f"--own: {width:.0f}px; max-width: {width * 1.5:.0f}px"
    head = f'<svg role="img" aria-label="{html.escape(label)}" style="{size}" '
    return re.sub(r"<svg ", head, re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2), count=1)


def _mark_points(figure: "Figure") -> dict[str, list[str]]:
    """Assign ids to the scatter plots whose points have texts, and return the texts by id."""
    from tl_lab.results.figures.texts import TITLES

    found = {}
    for number, drawn in enumerate(figure.findobj(lambda artist: hasattr(artist, TITLES))):
        drawn.set_gid(f"points-{number}")
        found[f"points-{number}"] = getattr(drawn, TITLES)
    return found


def _with_titles(text: str, titles: Mapping[str, Sequence[str]]) -> str:
    """Add a title with its text to each point of these scatter plots, which browsers display under the pointer."""
    for name, texts in titles.items():
        start = text.index(f'<g id="{name}">')
        lines = iter(texts)
        indented = start - text.rindex("\n", 0, start) - 1
        end = text.index(f"\n{' ' * indented}</g>", start)  # of the group
        inner = re.sub(
            r"<use ([^>]*)/>",
            lambda found: f"<use {found[1]}><title>{html.escape(next(lines))}</title></use>",  # noqa: B023
            text[start:end],
        )
        text = text[:start] + inner + text[end:]
    return text


def _themed(colour: str) -> str:
    name = _THEMED.get(colour)
    return f"var(--{name})" if name else colour


def _tiles(runs: "pd.DataFrame") -> str:
    counts = runs["status"].value_counts()
    done, running = int(counts.get("completed", 0)), int(counts.get("running", 0))
    tiles = [("runs", f"{len(runs):,}", ""), ("completed", f"{done:,}", "")]
    if running:
        tiles.append(("running, or killed", f"{running:,}", ""))
    if lost := len(runs) - done - running:
        tiles.append(("failed or missing", f"{lost:,}", "bad"))
    tiles.append(("settings", f"{runs['setting'].nunique():,}", ""))
    tiles.append(("seeds", f"{runs['seed'].nunique():,}", ""))
    tiles.append(("time, all runs", duration(float(runs["duration_s"].fillna(0).sum())), ""))
    return tiles_of(tiles)


def tiles_of(tiles: Sequence[tuple[str, str, str]]) -> str:
    """Format facts as tiles; each fact has a name, a value, and the mark ``bad`` or an empty text."""
    cells = "".join(
        f'<div class="{mark}"><dt>{html.escape(name)}</dt><dd>{html.escape(value).replace("_", "_<wbr>")}</dd></div>'
        for name, value, mark in tiles
    )
    return f'<dl class="tiles">{cells}</dl>'


def _section(section: Section, anchor: str, figures: Mapping[str, "Figure"]) -> str:
    parts = []
    for i, part in enumerate(section.parts):
        if isinstance(part, Table):
            parts.append(_table(part, f"{anchor}-{i}"))
        elif isinstance(part, Picture):
            drawn = svg(figures[part.name], part.caption)
            parts.append(
                f'<figure><div class="drawn">{drawn}</div><figcaption>{_text(part.caption)}</figcaption></figure>'
            )
        else:
            parts.append(_paragraph(part, "said"))
    inner = "\n".join(parts)
    if section.folded:
        rows = sum(len(part.rows) for part in section.parts if isinstance(part, Table))
        head = f'<summary id="{anchor}">{_text(section.title)} <span>({rows:,} rows)</span></summary>'
        return f"<details>{head}\n{inner}\n</details>"
    return f'<section>\n<h2 id="{anchor}">{_text(section.title)}</h2>\n{inner}\n</section>'


def _paragraph(text: str, kind: str = "") -> str:
    if text.startswith("> "):
        return f'<p class="note">{_text(text[2:])}</p>'
    return f'<p class="{kind}">{_text(text)}</p>' if kind else f"<p>{_text(text)}</p>"


def _text(text: str) -> str:
    """Convert a paragraph's backquotes and asterisks to HTML, and escape everything else."""
    safe = html.escape(text, quote=False)
    safe = re.sub(r"`([^`]*)`", r"<code>\1</code>", safe)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)


def _table(table: Table, name: str) -> str:
    start = len(table.head) if table.numbers_from is None else table.numbers_from
    number = [i >= start and all(_NUMBER.match(_of(row[i]).text) for row in table.rows) for i in range(len(table.head))]
    head = "".join(
        f'<th scope="col"{_class("number" if right else "")}><button type="button">{html.escape(text)}</button></th>'
        for text, right in zip(table.head, number, strict=True)
    )
    rows = "\n".join(
        f"<tr>{''.join(_cell(cell, right) for cell, right in zip(row, number, strict=True))}</tr>" for row in table.rows
    )
    caption = f"<caption><span>{_text(table.caption)}</span></caption>" if table.caption else ""
    many = len(table.rows) > _MANY_ROWS
    search = f'<input type="search" placeholder="Search rows" aria-label="Search rows" aria-controls="{name}">'
    return (
        f'{search if many else ""}<div class="scroll{" tall" if many else ""}" tabindex="0"><table id="{name}">'
        f"{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def _of(cell: str | Cell) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(cell)


def _cell(cell: str | Cell, right: bool) -> str:
    shown = _of(cell)
    value = "" if shown.value is None else f' data-value="{float(shown.value)!r}"' if shown.value == shown.value else ""
    text = html.escape(shown.text, quote=False).replace("=", "=<wbr>") + (
        " ≈" if shown.mark == "level" and right else ""
    )
    whole = right or (len(shown.text) <= _SHORT and _NUMBER.match(shown.text))  # never wrapped
    kind = "number" if right else "whole" if whole else "words" if len(shown.text) > _SHORT else ""
    # a long text has a wide cell, because its row would be very tall otherwise
    kind += " long" if kind == "words" and len(shown.text) > 160 else ""
    return f"<td{_class(shown.mark, kind)}{value}>{text}</td>"


def _class(*names: str) -> str:
    kept = " ".join(filter(None, names))
    return f' class="{kept}"' if kept else ""
