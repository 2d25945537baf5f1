"""Write the report of one or several sweeps to files, and print its table on the terminal.

This module does not import torch, so that a report on a thousand runs takes seconds.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tl_lab.results.folder.files import write_text
from tl_lab.results.names import format_difference, format_metric, heading, is_share, leads, split_name
from tl_lab.results.report.blocks import few_seeds_note, format_summary
from tl_lab.results.report.cells import csv_text
from tl_lab.results.report.latex import latex
from tl_lab.results.report.markdown import markdown
from tl_lab.results.report.page import page
from tl_lab.results.report.sections import MOST_IN_FIGURE, describe_facts, sections
from tl_lab.results.tables.collecting import OVERRIDE, Folders, collect, expected_of
from tl_lab.results.tables.findings import BASELINE, Findings, find, find_curves
from tl_lab.results.tables.reproduction import comparison_rows, crossed_rows, verdict_rows
from tl_lab.results.tables.statistics import CONFIDENCE
from tl_lab.results.tables.summarising import (
    find_crossed,
    independent,
    leading_on_target,
    metric_columns,
    paired_differences,
    summarise,
)
from tl_lab.results.tables.trade_off import trade_off
from tl_lab.results.tables.winners import describe_winners

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.table import Table

    from tl_lab.results.figures.texts import TextPoints

__all__ = ["show_summary", "sizes_of", "write_report"]


_SIZING = tuple(OVERRIDE + key for key in ("adapter", "strategy", "backbone"))
_MOST_TEXTS = 4  # largest number of settings whose texts are drawn
_SIZES_DIFFER = 1.5
"""Smallest ratio of the largest to the smallest number of trainable parameters for which a figure is drawn."""


def _intervals(counts: Iterable[float]) -> str:
    return f"Mean ± 95 % Student t interval over seeds; {few_seeds_note(counts, 'none for one seed')}."


def write_report(folder: Folders, out: str | Path | None = None, baseline: str = BASELINE, figure: bool = True) -> Path:
    """Write the report on the runs in a folder: ``results.csv``, ``summary.md``, ``summary.tex`` and ``report.html``.

    Args:
        folder: folder of a sweep, or several folders for one report.
        out: destination; None for the (first) folder.
        baseline: the override of the settings with which the others are compared, seed by seed.
        figure: whether to draw figures, into ``figures/`` and into the page.

    Returns:
        The path of ``summary.md``.

    Raises:
        UserError: there is no run, or a file cannot be written.
    """
    folders = [folder] if isinstance(folder, str | os.PathLike) else list(folder)
    found = find(folders, baseline)
    target = Path(out) if out is not None else Path(folders[0])
    write_text(target / "results.csv", csv_text(found.runs))
    figures = _draw(found, target / "figures") if figure else {}
    parts = sections(found, list(figures))
    name = " + ".join(Path(each).resolve().name for each in folders)
    write_text(target / "summary.tex", latex(found))
    write_text(target / "report.html", page(name, found.runs, parts, figures))
    return write_text(target / "summary.md", markdown(parts))


def _draw(found: Findings, folder: Path) -> "dict[str, Figure]":
    """Draw and save the figures for which there are data."""
    drawn = found.table[found.table["n"] > 0].head(MOST_IN_FIGURE)
    if not found.metrics or not len(drawn):
        return {}
    from tl_lab.results.figures.drawing import save_figures
    from tl_lab.results.figures.streams import trade_off_figure
    from tl_lab.results.figures.sweeps import (
        budgets_figure,
        curves_figure,
        parameters_figure,
        ranks_figure,
        settings_intervals,
    )

    runs = independent(found.runs)
    shown = [name for name in found.metrics if leads(name)][:3] or found.metrics[:3]
    figures = {"settings": settings_intervals(drawn, shown, runs, CONFIDENCE)}
    traded = trade_off(runs).head(MOST_IN_FIGURE)
    if len(traded) > 1:
        figures["trade_off"] = trade_off_figure(traded, CONFIDENCE)
    if curves := find_curves(found):
        figures["curves"] = curves_figure(curves)
    if found.scale:
        from tl_lab.results.figures.scale import scale_figure

        figures["scale"] = scale_figure(found.scale)
    if found.ranking is not None:
        figures["ranks"] = ranks_figure(found.ranking)
    if texts := _texts_of(runs, drawn, found.root):
        from tl_lab.results.figures.texts import texts_figure

        figures["texts"] = texts_figure(texts)
    if found.budgets is not None:
        figures["label_budgets"] = budgets_figure(*found.budgets)
    elif (sized := sizes_of(runs, drawn)) is not None:
        figures["parameters"] = parameters_figure(sized, shown[0])
    save_figures(figures, folder)
    return figures


def _texts_of(runs: "pd.DataFrame", table: "pd.DataFrame", root: Path) -> "dict[str, TextPoints]":
    """Read the positions of the test set's texts in the first run of each of the first settings."""
    from tl_lab.results.figures.texts import read_points

    found = {}
    for setting in table["setting"]:
        for folder in runs[runs["setting"] == setting].sort_values("seed")["folder"]:
            if (points := read_points(root / str(folder) / "figures")) is not None:
                found[str(setting)] = points
                break
        if len(found) == _MOST_TEXTS:
            break
    return found


def sizes_of(runs: "pd.DataFrame", table: "pd.DataFrame") -> "pd.DataFrame | None":
    """Add the number of trainable parameters to a table of settings.

    Args:
        runs: one row per run.
        table: one row per setting.

    Returns:
        The settings whose number is known. None if adapter, strategy and backbone are the same for all, or if the
        numbers differ by less than a factor of 1.5, because size then explains nothing.
    """
    swept = [name for name in runs if name.startswith(_SIZING) and runs[name].astype(str).nunique() > 1]
    if not swept:
        return None
    known = runs.groupby("setting", sort=False)["parameters_trainable"].median()
    sized = table.assign(parameters=table["setting"].map(known).astype(float))
    sized = sized[sized["parameters"] > 0]
    least, most = sized["parameters"].min(), sized["parameters"].max()
    return sized if len(sized) > 1 and most >= _SIZES_DIFFER * least else None


def show_summary(folder: str | Path) -> None:
    """Print the result of a sweep: methods by tasks if it compared these, otherwise one row per setting.

    Args:
        folder: folder of the sweep.
    """
    from rich.text import Text

    from tl_lab.results.screen.console import say

    runs = collect([folder])
    expected = expected_of(runs)
    if (found := find_crossed(runs, expected)) is not None and len(found[0].tasks) > 1:
        crossed, metric, key = found
        head, rows = crossed_rows(crossed, metric, key, expected)
        note = f"{heading(metric)}. {_intervals(crossed.seeds.flat)} {describe_facts(runs)}".strip()
        say(Text(), _plain_table(head, rows), Text(note, style="dim"))
        if compared := comparison_rows(crossed, metric):
            say(Text(), _plain_table(["method", "baseline", "difference", "better on", "p (Wilcoxon, Holm)"], compared))
    else:
        _show_settings(runs)
    if expected is not None and found is not None and (verdicts := verdict_rows(found[0], found[1], expected)):
        limit = format_metric(found[1], expected.tolerance)
        head = ["method", "measured", "published", "difference", f"within ± {limit}"]
        say(Text(), _plain_table(head, verdicts), Text(expected.source, style="dim"))


def _show_settings(runs: "pd.DataFrame") -> None:
    from rich.text import Text

    from tl_lab.results.screen.console import say

    summary = summarise(runs)
    split = "val" if len(runs) and runs["trial"].all() else "test"
    names = [name for name in metric_columns(runs) if split_name(name).split == split and leads(name)]
    if any(not split_name(name).part for name in names):  # for a stream, only the mean over tasks is printed
        names = [name for name in names if not split_name(name).part.startswith("task")]
    head = ["setting", "seeds", *(heading(name).removeprefix(f"{split} ") for name in names)]
    rows = [
        [str(row["setting"]), str(row["n"]), *(format_summary(row, name) for name in names)]
        for row in summary.to_dict("records")
    ]
    counts = [n for name in names for n in summary[f"{name} n"]]
    note = f"{_intervals(counts)} {describe_facts(runs)}".strip()
    say(Text(), _plain_table(head, rows), Text(note, style="dim"))
    _show_differences(runs, names)
    if best := describe_winners(runs):
        say(Text(best.replace("`", "")))


def _show_differences(runs: "pd.DataFrame", names: Sequence[str]) -> None:
    """Print each setting's paired differences from its baseline, by the main metric of the target if there is one."""
    from rich.text import Text

    from tl_lab.results.screen.console import say

    if (name := leading_on_target(names) or next(iter(names), None)) is None:
        return
    compared = paired_differences(runs, name, BASELINE).to_dict("records")
    rows = [
        [
            str(row["setting"]),
            format_difference(name, row["mean"], row["ci95"], (row["low"], row["high"])),
            f"{row['positive']} of {row['n']}",
        ]
        for row in compared
    ]
    if rows:
        metric = heading(name).removeprefix(f"{split_name(name).split} ")
        head = [f"difference from {BASELINE}", metric, "seeds above zero"]
        points = ", in points" if is_share(split_name(name).metric) else ""
        note = f"Mean ± 95 % Student t interval of the paired differences over common seeds{points}."
        say(Text(), _plain_table(head, rows), Text(note, style="dim"))


def _plain_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """Build a table for the terminal, with text in the first column and numbers in the others."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
