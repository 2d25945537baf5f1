"""Report sections about the number of labels and the gain from transfer.

This module does not import torch.
"""

from collections.abc import Sequence

from tl_lab.results.names import (
    duration,
    format_difference,
    format_metric,
    heading,
    less_is_better,
    readable,
    split_name,
)
from tl_lab.results.report.blocks import Cell, Picture, Row, Section, Table, few_seeds_note, p_cell
from tl_lab.results.tables.findings import Findings
from tl_lab.results.tables.statistics import CONFIDENCE_LEVEL, FEWEST_SEEDS, VERDICTS

__all__ = ["label_parts"]


def label_parts(found: Findings, pictures: Sequence[str]) -> list[Section]:
    """Show the main metric by number of labels, and the comparison of transfer with training from scratch."""
    if found.budgets is None:
        return []
    metric, budgets = found.budgets
    rows: list[Row] = [
        [
            budget.way,
            Cell(f"{budget.labels:,}" + (" (all)" if budget.everything else ""), value=budget.labels),
            str(budget.n),
            Cell(format_metric(metric, budget.mean, budget.half, budget.both), value=budget.mean),
            Cell(duration(budget.seconds), value=budget.seconds),
        ]
        for budget in budgets
    ]
    words = readable(split_name(metric).metric)
    by_labels = f"{words[:1].upper()}{words[1:]} by number of labels"
    shown = [Picture("label_budgets", f"{by_labels}, with intervals over seeds")]
    few = few_seeds_note([budget.n for budget in budgets], before=", ")
    parts = [
        Section(
            by_labels,
            [
                *(shown if "label_budgets" in pictures else []),
                Table(["strategy", "labels", "n", heading(metric), "a run"], rows, 1, "Score by strategy and labels"),
                f"Mean ± {CONFIDENCE_LEVEL} Student t interval over n seeds{few}. Each seed draws its own labelled "
                "samples, and smaller samples are subsets of larger ones.",
            ],
        )
    ]
    if found.transfer:
        negative = "above" if less_is_better(metric) else "below"
        rows = [
            [
                each.budget.way,
                Cell(f"{each.budget.labels:,}", value=each.budget.labels),
                str(each.n),
                Cell(format_difference(metric, each.mean, each.half, each.both), value=each.mean),
                p_cell(each.p),
                Cell(each.verdict, {"helps": "good", "hurts": "bad"}.get(each.verdict, "")),
            ]
            for each in found.transfer
        ]
        parts.append(
            Section(
                "Does transfer help?",
                [
                    Table(
                        ["strategy", "labels", "n", "difference from scratch", "p (paired t, Holm)", "transfer"],
                        rows,
                        1,
                        "Differences from training from scratch",
                    ),
                    f"Difference from `strategy=from_scratch` with the same labels, seed by seed, ± {CONFIDENCE_LEVEL} "
                    f"paired Student t interval; {negative} zero, transfer is negative. p is corrected for the number "
                    f"of rows; with fewer than {FEWEST_SEEDS} common seeds, nothing is tested. {VERDICTS}",
                ],
            )
        )
    return parts + item_parts(found)


def item_parts(found: Findings) -> list[Section]:
    """Show the comparison of transfer with training from scratch on the same test items."""
    if not found.items:
        return []
    rows: list[Row] = [
        [
            each.budget.way,
            Cell(f"{each.budget.labels:,}", value=each.budget.labels),
            f"{each.n:,}",
            f"{each.answers:,}",
            f"{each.gained:,}",
            f"{each.lost:,}",
            Cell(_in_points(each.difference, each.low, each.high), value=each.difference),
            p_cell(each.p),
            Cell(each.verdict, {"helps": "good", "hurts": "bad"}.get(each.verdict, "")),
        ]
        for each in found.items
    ]
    head = ["strategy", "labels", "items", "answers", "only this correct", "only scratch correct", "difference, points"]
    text = (
        "Predictions of each strategy and of `strategy=from_scratch` with the same labels on the test items of all "
        f"common seeds: difference of the accuracies, its {CONFIDENCE_LEVEL} bootstrap "
        "interval over items, and McNemar's exact test, corrected for the number of rows. Answers of several seeds to "
        "one item count together, as one observation (an exact test with random signs, which equals McNemar's for one "
        "seed). The test covers the sampling of test items, not the variation between draws of the labels. Prompting "
        f"is compared by the answers to its first prompt. {VERDICTS}"
    )
    shown = Table([*head, "p (exact, Holm)", "transfer"], rows, 1, "Differences item by item")
    return [Section("Does transfer help, item by item?", [shown, text])]


def _in_points(difference: float, low: float, high: float) -> str:
    return f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
