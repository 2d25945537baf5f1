"""Section on the task that a backbone was trained on before: its score before the runs and after them.

This module does not import torch.
"""

import math

from tl_lab.results.names import format_difference, format_metric, readable
from tl_lab.results.report.blocks import Cell, Row, Section, Table, few_seeds_note
from tl_lab.results.tables.findings import Findings
from tl_lab.results.tables.statistics import CONFIDENCE_LEVEL, both_of, half_width

__all__ = ["forgetting_parts"]


def forgetting_parts(found: Findings) -> list[Section]:
    """Show each setting's score on the base's own task, before the runs and after them."""
    if not found.forgotten:
        return []
    rows: list[Row] = []
    for each in found.forgotten:
        change = each.change
        rows.append(
            [
                each.setting,
                each.task or "-",
                readable(each.metric),
                str(change.n),
                *(_mean(each.metric, values) for values in (each.before, each.after)),
                Cell(format_difference(each.metric, change.mean, change.half, change.both), value=change.mean),
            ]
        )
    head = ["setting", "base task", "metric", "n", "before", "after", "change"]
    few = few_seeds_note([len(each.before) for each in found.forgotten], "no interval for n = 1")
    text = (
        "Scores of the backbone on a fixed small sample of a task on which its initial weights were trained, never "
        f"used for selection: mean ± {CONFIDENCE_LEVEL} Student t interval over the n seeds, and the change seed by "
        f"seed; {few}."
    )
    return [Section("Base task before and after", [Table(head, rows, 2, "Base task before and after"), text])]


def _mean(metric: str, values: tuple[float, ...]) -> Cell:
    mean = math.fsum(values) / len(values)
    return Cell(format_metric(metric, mean, half_width(values), both_of(values)), value=mean)
