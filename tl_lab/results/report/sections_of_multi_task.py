"""Report section about tasks that were trained jointly and separately.

This module does not import torch.
"""

from tl_lab.results.names import format_difference, format_metric, heading
from tl_lab.results.report.blocks import Cell, Row, Section, Table, p_cell
from tl_lab.results.tables.findings import Findings
from tl_lab.results.tables.statistics import CONFIDENCE_LEVEL, FEWEST_SEEDS, VERDICTS

__all__ = ["gain_parts"]


def gain_parts(found: Findings) -> list[Section]:
    """Show the comparison of each task with its single-task runs."""
    if not found.gains:
        return []
    rows: list[Row] = [
        [
            each.setting,
            heading(each.metric).removeprefix("test "),
            str(each.n),
            Cell(format_metric(each.metric, each.together), value=each.together),
            Cell(format_metric(each.metric, each.alone), value=each.alone),
            Cell(format_difference(each.metric, each.difference, each.half, each.both), value=each.difference),
            p_cell(each.p),
            Cell(each.verdict, {"helps": "good", "hurts": "bad"}.get(each.verdict, "")),
        ]
        for each in found.gains
    ]
    head = ["setting", "task", "n", "together", "alone", "difference", "p (paired t, Holm)", "joint training"]
    text = (
        f"Means over the n common seeds, and the difference seed by seed ± {CONFIDENCE_LEVEL} paired Student t "
        "interval. The single-task runs have the same number of updates and the same batch size. p is corrected for "
        f"the number of rows; with fewer than {FEWEST_SEEDS} common seeds, nothing is tested. {VERDICTS}"
    )
    return [Section("Does joint training help?", [Table(head, rows, 2, "Tasks trained jointly and separately"), text])]
