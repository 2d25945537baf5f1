"""Report section about models of different sizes with the same prompts.

This module does not import torch.
"""

from collections.abc import Sequence

from tl_lab.results.names import format_metric
from tl_lab.results.report.blocks import Cell, Picture, Row, Section, Table
from tl_lab.results.tables.findings import Findings

__all__ = ["scale_parts"]

_ACC = "test/acc"


def scale_parts(found: Findings, pictures: Sequence[str]) -> list[Section]:
    """Show the score of each model by its size, and whether it is above chance."""
    if not found.scale:
        return []
    rows: list[Row] = [
        [
            each.way or "all runs",
            each.model,
            Cell(f"{each.parameters:,}", value=each.parameters),
            str(each.n),
            Cell(format_metric(_ACC, each.acc), value=each.acc),
            f"{format_metric(_ACC, each.low)} to {format_metric(_ACC, each.high)}",
            Cell(format_metric(_ACC, each.chance), value=each.chance),
            Cell(each.verdict, {"above chance": "good", "below chance": "bad"}.get(each.verdict, "")),
        ]
        for each in found.scale
    ]
    head = ["prompts", "model", "parameters", "n", "test accuracy", "95 % interval", "chance", "verdict"]
    text = (
        "Accuracy is the mean over all prompts and n seeds. The interval is Wilson's over the test items of a run; its "
        "ends are means over the seeds. Chance is the accuracy of always predicting the most frequent class of these "
        "items. An ability is absent at a scale if the interval includes chance; more items may change this."
    )
    shown = [Picture("scale", "Accuracy by number of parameters, with intervals over items; dashed: chance")]
    drawn = shown if "scale" in pictures else []
    return [Section("Accuracy by model size", [*drawn, Table(head, rows, 2, "Accuracy by size of the model"), text])]
