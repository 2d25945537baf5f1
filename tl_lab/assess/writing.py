"""An assessment on the screen, as JSON and as one page."""

import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab import commands
from tl_lab.assess.asking import Asked
from tl_lab.assess.results import NotApplicable, PartResult
from tl_lab.results.folder.files import SCHEMA, write_json, write_text
from tl_lab.results.report.blocks import Cell, Picture, Section
from tl_lab.results.report.blocks import Table as Rows
from tl_lab.results.report.page import document, tiles_of

if TYPE_CHECKING:
    from tl_lab.assess.running import Assessed

__all__ = ["new_folder", "plain", "screen_table", "sections", "show", "write"]


def new_folder(asked: Asked) -> Path:
    """Return the folder that ``hydra.run.dir`` names, or else name a new one below the outputs."""
    given = [text.partition("=")[2] for text in asked.overrides if text.startswith("hydra.run.dir=")]
    if given:
        return Path(given[-1].strip("'\""))
    root = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs")) / "assessments"
    return root / asked.plans[0].data.choice / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")


def write(assessed: "Assessed", folder: Path) -> None:
    """Write ``assessment.json`` and ``assessment.html``, each whole or not at all.

    Raises:
        UserError: the folder cannot be written to.
    """
    write_json(folder / "assessment.json", plain(assessed))
    figures = {
        f"{name}/{caption}": figure
        for name, part in assessed.parts.items()
        if isinstance(part, PartResult)
        for caption, figure in part.figures.items()
    }
    tiles = tiles_of([(name, value, "") for name, value in _facts(assessed).items()])
    title = f"Assessment of {assessed.material.plan.data.choice}"
    write_text(folder / "assessment.html", document(title, tiles, sections(assessed), figures))


def sections(assessed: "Assessed") -> list[Section]:
    """Lay an assessment out: the verdict, then a section a part."""
    found = [Section("Verdict", [*assessed.verdict, *(f"> {note}" for note in assessed.notes)])]
    for name, part in assessed.parts.items():
        section = Section(part.title)
        if isinstance(part, NotApplicable):
            section.parts.append(f"> {'Not assessed' if part.failed else 'Not applicable'}: {part.why}")
        else:
            section.parts.append(f"> {part.sentence} Confidence: {part.confidence}.")
            captions = list(part.figures)
            section.parts += [Picture(f"{name}/{caption}", caption) for caption in captions[:1]]
            section.parts += [*part.tables, *(Picture(f"{name}/{caption}", caption) for caption in captions[1:])]
            section.parts += part.notes
        found.append(section)
    command = commands.command("assess", *assessed.asked.overrides)
    found.append(Section("To repeat this", [f"`{command}`", f"Data: `{assessed.material.data.fingerprint()}`."]))
    return found


def plain(assessed: "Assessed") -> dict[str, Any]:
    """Give an assessment as plain values."""
    return {
        "schema": SCHEMA,
        "overrides": list(assessed.asked.overrides),
        "data": assessed.material.plan.data.choice,
        "backbones": [one.name for one in assessed.material.subjects],
        "seed": assessed.material.plan.seed,
        "sizes": assessed.material.sizes,
        "fingerprint": assessed.material.data.fingerprint(),
        "verdict": list(assessed.verdict),
        "notes": list(assessed.notes),
        "parts": {name: _part(part) for name, part in assessed.parts.items()},
        "seconds": {name: round(value, 3) for name, value in assessed.seconds.items()},
        "footprint": None if assessed.footprint is None else vars(assessed.footprint),
    }


def _part(part: PartResult | NotApplicable) -> dict[str, Any]:
    if isinstance(part, NotApplicable):
        return {"status": "failed" if part.failed else "not applicable", "why": part.why}
    return {
        "status": "assessed",
        "sentence": part.sentence,
        "confidence": part.confidence,
        "measures": {name: _finite(one.plain()) for name, one in part.measures.items()},
        "notes": part.notes,
        "facts": dict(part.facts),
    }


def _finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value if value is not None and math.isfinite(value) else None for name, value in values.items()}


def _facts(assessed: "Assessed") -> dict[str, str]:
    material = assessed.material
    names = [one.name for one in material.subjects]
    done = sum(isinstance(part, PartResult) for part in assessed.parts.values())
    return {
        "data": material.plan.data.choice,
        "backbones" if len(names) > 1 else "backbone": str(len(names)) if len(names) > 1 else names[0],
        "training labels": f"{material.sizes[material.train]:,}",
        "parts": f"{done} of {len(assessed.parts)}",
        "processor time": f"{sum(assessed.seconds.values()):.0f} s",
    }


def show(assessed: "Assessed") -> None:
    """Print the verdict and one row per part."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tl_lab.results.screen.console import say

    material = assessed.material
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("part", style="bold", no_wrap=True)
    table.add_column("confidence", no_wrap=True)
    table.add_column("answer", overflow="fold")
    for name, part in assessed.parts.items():
        if isinstance(part, PartResult):
            table.add_row(name, part.confidence, Text(part.sentence))
        else:
            table.add_row(name, "-", Text(f"{'failed' if part.failed else 'not applicable'}: {part.why}", "dim"))
    single = [part for part in assessed.parts.values() if isinstance(part, PartResult)]
    details = (
        [row for one in single[0].tables for row in screen_table(one)] if len(assessed.parts) == 1 and single else []
    )
    names = ", ".join(one.name for one in material.subjects)
    say(
        Text.assemble(("Assessment", "bold"), (f"   data={material.plan.data.choice}, {names}", "dim")),
        Text(),
        *(Text.from_markup(_bold(one)) for one in assessed.verdict),
        Text(),
        table,
        *details,
    )


def screen_table(table: Rows) -> list[Any]:
    """Give a table of a report as rows of the screen: a blank line, its caption, if it has one, and the table."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    start = len(table.head) if table.numbers_from is None else table.numbers_from
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)  # a title would wrap at the table's width
    for i, head in enumerate(table.head):
        shown.add_column(head, justify="right" if i >= start else "left")
    for row in table.rows:
        shown.add_row(*(Text(cell.text if isinstance(cell, Cell) else cell) for cell in row))
    caption = [Text(table.caption, "dim")] if table.caption else []
    return [Text(), *caption, shown]


def _bold(text: str) -> str:
    from rich.markup import escape

    safe = escape(text)
    while "**" in safe:
        safe = safe.replace("**", "[bold]", 1).replace("**", "[/bold]", 1)
    return safe
