"""Write ``summary.tex``: the tables of a report in LaTeX with booktabs.

This module does not import torch.
"""

from collections.abc import Sequence

from tl_lab.results.names import heading, title
from tl_lab.results.report.blocks import Cell, few_seeds_note, format_summary
from tl_lab.results.report.sections_of_tasks import explain_marks, with_best
from tl_lab.results.tables.findings import Findings
from tl_lab.results.tables.reproduction import crossed_rows
from tl_lab.results.tables.statistics import CONFIDENCE
from tl_lab.texts import one_line

__all__ = ["escape", "latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
    "²": r"$^2$", "`": r"\`{}", "≈": r"$\approx$",
}  # fmt: skip


def escape(text: str) -> str:
    r"""Escape a text for LaTeX.

    Hyphens do not merge into dashes, and a leading ``[`` is not read as an argument of the preceding line break.
    """
    written = "".join(_SPECIAL.get(character, character) for character in one_line(text)).replace("--", "-{}-")
    return "{}" + written if written.startswith(("[", "*")) else written


def latex(found: Findings) -> str:
    """Write the tables: settings by metrics and, if the sweep has them, methods by tasks.

    Args:
        found: content of the report.

    Returns:
        Content of a file for ``\\input``, which requires ``\\usepackage{booktabs}``.
    """
    parts = [r"% \usepackage{booktabs}"]
    if others := _beyond_latin(found):
        parts[0] += f"\n% needs XeLaTeX or LuaLaTeX with a font for: {others}"
    if found.crossed is not None:
        table, metric, tasks = found.crossed
        head, rows = crossed_rows(table, metric, tasks, found.expected)
        few = few_seeds_note(table.seeds.flat, before=", ")
        text = f"{title(metric)}, mean and {CONFIDENCE:.0%} Student t interval over seeds"
        marked = [[_marked(cell) for cell in row] for row in with_best(rows, table, metric)]
        parts.append(
            _table(
                head,
                marked,
                f"{text}, n = {table.seed_range()}{few}. {explain_marks(table)}".strip(),
            )
        )
    rows = []
    for row in found.table.to_dict("records"):
        cells = [
            _marked(Cell(format_summary(row, name), standing.word if standing else ""))
            for name in found.metrics
            for standing in [found.standings[name].get(row["setting"])]
        ]
        rows.append([escape(row["setting"]), str(row["n"]), *cells])
    few = few_seeds_note([n for name in found.metrics for n in found.table[f"{name} n"]], before=", ")
    caption = f"Mean and {CONFIDENCE:.0%} Student t interval over n seeds{few}.{_explained(found)}"
    parts.append(_table(["setting", "n", *map(heading, found.metrics)], rows, caption))
    return "\n\n".join(parts) + "\n"


def _explained(found: Findings) -> str:
    """Explain the marks that occur in the table of settings."""
    words = {standing.word for name in found.metrics for standing in found.standings[name].values()}
    text = " Bold: best on the same data" if "best" in words else ""
    test = "(paired t-test over common seeds, Holm)"
    if "level" in words:
        text += f"; dagger: not significantly worse {test}"
    elif "worse" in words and "unknown" not in words:
        text += f"; all others are significantly worse {test}"
    return f"{text}." if text else ""


def _beyond_latin(found: Findings) -> str:
    """Return the characters of names that LaTeX's usual fonts do not have."""
    names = "".join(map(str, found.table["setting"]))
    return "".join(sorted({sign for sign in names if ord(sign) > 0x24F and sign not in _SPECIAL}))


def _marked(cell: str | Cell) -> str:
    text, mark = (cell.text, cell.mark) if isinstance(cell, Cell) else (cell, "")
    if mark == "best":
        return rf"\textbf{{{escape(text)}}}"
    return escape(text) + (r"$^\dagger$" if mark == "level" else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    lines = [" & ".join(line) + r" \\" for line in rows]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(map(escape, head)) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
