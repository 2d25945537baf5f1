"""Report sections about methods that were run on several tasks: a table as in a paper, and comparisons of methods.

This module does not import torch.
"""

from collections.abc import Sequence

import numpy as np

from tl_lab.results.names import format_metric, less_is_better, title
from tl_lab.results.report.blocks import Cell, Picture, Row, Section, Table, few_seeds_note
from tl_lab.results.tables.comparing import Ranking
from tl_lab.results.tables.reproduction import Crossed, Reproduces, comparison_rows, crossed_rows, verdict_rows
from tl_lab.results.tables.statistics import CONFIDENCE, CONFIDENCE_LEVEL, FEWEST_SEEDS

__all__ = ["crossed_parts", "explain_marks", "ranking_parts", "with_best"]


def crossed_parts(found: tuple[Crossed, str, str] | None, expected: Reproduces | None) -> list[Section]:
    """Show methods by tasks and the published values, and compare the methods.

    Args:
        found: result of :func:`tl_lab.results.tables.summarising.find_crossed`.
        expected: published values for the experiment.

    Returns:
        The sections; empty without a table.
    """
    if found is None:
        return []
    table, metric, tasks = found
    few = few_seeds_note(table.seeds.flat, before=", ")
    head, rows = crossed_rows(table, metric, tasks, expected)
    parts = [
        Section(
            f"{title(metric)} by method" + (f" and `{tasks}`" if tasks else ""),
            [
                Table(head, with_best(rows, table, metric), 1, f"{title(metric)} of each method"),
                _shown_means(table.seed_range())
                + few
                + (f"; each `{tasks}` has the same weight in the mean." if tasks else ".")
                + _choice(expected)
                + (f" {explain_marks(table)}" if explain_marks(table) else "")
                + (f" Published: {expected.source}." if expected is not None and expected.published else ""),
            ],
        )
    ]
    if expected is not None and (verdicts := verdict_rows(table, metric, expected)):
        limit = format_metric(metric, expected.tolerance)
        marked: list[Row] = [[*row[:-1], Cell(row[-1], _word(row[-1]))] for row in verdicts]
        head = ["method", "measured", "published", "difference", f"within ± {limit}"]
        means = (
            f"{f'Means over `{tasks}`' if tasks else 'Means over seeds'}; {expected.source}. The difference has its "
            f"{CONFIDENCE_LEVEL} interval. The verdict is yes if the whole interval is within the tolerance, no if all "
            "of it is outside, and undecided otherwise or with fewer than three seeds; the number of further seeds is "
            "an estimate."
        )
        parts.append(
            Section("Comparison with the paper", [Table(head, marked, 1, "Measured and published values"), means])
        )
    if compared := comparison_rows(table, metric):
        parts.append(
            Section(
                "Methods compared over tasks",
                [
                    Table(
                        ["method", "baseline", "difference", "better on", "p (Wilcoxon, Holm)"],
                        compared,
                        2,
                        "Pairs of methods",
                    ),
                    f"Each value of `{tasks}` is a pair of means over seeds: mean difference ± {CONFIDENCE_LEVEL} "
                    "paired Student t interval over these pairs, and Wilcoxon's two-sided signed-rank test, corrected "
                    "for the number of methods (with at least six pairs). Tasks that share a domain are not "
                    "independent, so the true intervals are wider.",
                ],
            )
        )
    return parts


def with_best(rows: list[list[str]], table: Crossed, metric: str) -> list[Row]:
    """Mark the best mean of each row, if methods are compared over tasks (see :func:`explain_marks`).

    Args:
        rows: rows as returned by :func:`tl_lab.results.tables.reproduction.crossed_rows`.
        table: methods by tasks.
        metric: the metric's name, which determines the direction.
    """
    if not explain_marks(table):
        return [*rows]
    compared = _compared(table)
    means = np.vstack([table.mean, table.overall])[:, compared] * (-1 if less_is_better(metric) else 1)
    seeds = np.vstack([table.seeds, table.seeds.min(0)])[:, compared]
    means = np.where(seeds.min(1, keepdims=True) >= FEWEST_SEEDS, means, np.nan)
    marked: list[Row] = []
    for line, values in zip(rows, means, strict=True):
        best = {1 + compared[j] for j in np.flatnonzero(values == np.nanmax(values, initial=-np.inf))}
        marked.append([Cell(text, "best") if i in best else text for i, text in enumerate(line)])
    return marked


def explain_marks(table: Crossed) -> str:
    """Explain the marks in the table of methods by tasks; empty if there are no marks."""
    if len(table.tasks) < 2 or len(_compared(table)) < 2 or table.seeds.max() < FEWEST_SEEDS:
        return ""
    return (
        f"The best mean is marked in rows with at least {FEWEST_SEEDS} seeds; differences from the others are not "
        "tested."
    )


def _shown_means(seeds: str) -> str:
    if seeds == "1":
        return "One seed, and therefore no interval"
    return f"Mean ± {CONFIDENCE_LEVEL} Student t interval over seeds, n = {seeds}"


def _compared(table: Crossed) -> list[int]:
    """Return the positions of the compared methods, which are not oracles."""
    return [j for j, method in enumerate(table.methods) if method not in table.oracles]


def _choice(expected: Reproduces | None) -> str:
    if expected is None or expected.chosen_by is None:
        return ""
    keys = ", ".join(f"`{key}`" for key in expected.tuned)
    return f" Each cell uses the best value of {keys} by `{expected.chosen_by}`, seed by seed."


def ranking_parts(ranking: Ranking | None, pictures: Sequence[str]) -> list[Section]:
    """Show the mean ranks of the methods over data sets, if there are enough data sets."""
    if ranking is None:
        return []
    differ = ranking.p < 1 - CONFIDENCE
    p = f"= {ranking.p:.3f}" if ranking.p >= 0.001 else "< 0.001"
    text = (
        f"Friedman's test over {ranking.tasks} data sets (Iman and Davenport's F): p {p}, so the methods "
        + ("differ. " if differ else "do not differ significantly, and the bars are meaningless. ")
        + f"A bar joins methods whose mean ranks are within Nemenyi's critical difference of {ranking.critical:.2f} "
        f"(5 %). Ranks are those of the means over seeds on each data set (Demsar, JMLR 2006)."
    )
    ranked: list[Row] = [
        [method, Cell(f"{rank:.2f}", value=rank)] for method, rank in zip(ranking.methods, ranking.ranks, strict=True)
    ]
    shown = [Picture("ranks", "Mean ranks of the methods; a bar joins methods without a significant difference")]
    return [
        Section(
            "Methods by rank",
            [
                *(shown if "ranks" in pictures else []),
                Table(["method", "mean rank"], ranked, 1, "Mean rank of each method"),
                text,
            ],
        )
    ]


def _word(verdict: str) -> str:
    """Return the mark of a verdict; undecided or missing verdicts have none."""
    return "good" if verdict == "yes" else "bad" if verdict.startswith("no,") else ""
