"""``summary.md``: what a report says, as plain text that also renders.

Nothing here imports torch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tl_lab.results.collecting import OVERRIDE, SELECTION
from tl_lab.results.names import format_metric, heading, split_name, title
from tl_lab.results.protocol import facts_of_all, facts_of_settings, told
from tl_lab.results.reproduction import Crossed, Reproduces, comparison_rows, crossed_rows, verdict_rows
from tl_lab.results.statistics import CONFIDENCE
from tl_lab.results.summarising import find_crossed, independent, paired_differences

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MOST_IN_FIGURE", "crossed_sections", "facts_said", "markdown"]

MOST_IN_FIGURE = 40
"""Settings that a figure shows at most."""
_PICTURES = {
    "settings": "Settings: mean, interval and single seeds",
    "trade_off": "Settings: accuracy on the last task and mean accuracy on the tasks before it, with intervals",
}


def markdown(
    runs: "pd.DataFrame",
    table: "pd.DataFrame",
    metrics: list[str],
    baseline: str,
    pictures: Sequence[str],
    expected: Reproduces | None,
) -> str:
    completed = int((runs["status"] == "completed").sum())
    parts = [
        "# Summary",
        f"{len(runs)} runs, {completed} completed, {len(runs) - completed} not; {len(table)} settings.",
        _shared(runs),
        facts_said(runs),
        *_warnings(runs),
        *crossed_sections(find_crossed(runs, expected), expected),
        "## Settings",
        _settings_table(table, metrics, facts_of_settings(runs)),
        f"Mean ± {CONFIDENCE:.0%} confidence interval over seeds (half-width t · s / √n, Student's t with n - 1 "
        "degrees of freedom, s with ddof = 1); n is the number of seeds; no interval for n = 1. Accuracies and F1 in "
        "per cent. Duration: mean of a run.",
    ]
    parts += [f"![{_PICTURES[name]}](figures/{name}.png)" for name in pictures]
    if pictures and len(table) > MOST_IN_FIGURE:
        parts.append(f"The figure{'s show' if len(pictures) > 1 else ' shows'} the first {MOST_IN_FIGURE} settings.")
    parts += _differences(runs, metrics, baseline)
    parts += _selection(runs, table)
    failed = runs[runs["status"] != "completed"]
    if len(failed):
        rows = failed[["folder", "setting", "seed", "status", "error"]].astype(object)
        cells = [[_cell(value) for value in row] for row in rows.itertuples(index=False)]
        parts += ["## Not completed", _table(["run", "setting", "seed", "status", "reason"], cells)]
    return "\n\n".join(part for part in parts if part) + "\n"


def crossed_sections(found: tuple[Crossed, str, str] | None, expected: Reproduces | None) -> list[str]:
    """Write methods beside tasks, beside the paper, and the comparison of methods, in Markdown.

    Args:
        found: as :func:`find_crossed` gives it.
        expected: what the experiment is held against.

    Returns:
        Paragraphs; none without a table.
    """
    if found is None:
        return []
    table, metric, tasks = found
    head, rows = crossed_rows(table, metric, tasks, expected)
    seeds = table.seeds_said()
    parts = [
        f"## {title(metric)} by method" + (f" and `{tasks}`" if tasks else ""),
        _table(head, [[_cell(cell) for cell in row] for row in rows], numbers_from=1),
        f"Mean ± {CONFIDENCE:.0%} Student t interval over seeds, n = {seeds}"
        + (f"; each `{tasks}` has the same weight in the mean." if tasks else ".")
        + _choice(expected)
        + (f" Published: {expected.source}." if expected is not None and expected.published else ""),
    ]
    if expected is not None and (verdicts := verdict_rows(table, metric, expected)):
        limit = format_metric(metric, expected.tolerance)
        parts += [
            "## Beside the paper",
            _table(["method", "measured", "published", "difference", f"within ± {limit}"], verdicts, numbers_from=1),
            f"{'Means over ' + tasks if tasks else 'Means over seeds'}; {expected.source}.",
        ]
    if compared := comparison_rows(table, metric):
        parts += [
            "## Methods compared over tasks",
            _table(["method", "baseline", "difference", "better on", "p (Wilcoxon, Holm)"], compared, numbers_from=2),
            f"Pairs are the values of `{tasks}`, each with its mean over seeds: mean difference ± {CONFIDENCE:.0%} "
            "paired Student t interval over them, and Wilcoxon's signed-rank test, two-sided, corrected for the number "
            "of methods (none below six pairs). Tasks that share a domain are not independent: the true intervals are "
            "wider.",
        ]
    return parts


def _choice(expected: Reproduces | None) -> str:
    if expected is None or expected.chosen_by is None:
        return ""
    keys = ", ".join(f"`{key}`" for key in expected.tuned)
    return f" Of the values of {keys} each cell takes the best by `{expected.chosen_by}`, seed by seed."


def _settings_table(table: "pd.DataFrame", metrics: list[str], facts: Mapping[str, str]) -> str:
    differ = any(facts.values())
    head = ["setting", "n", *map(heading, metrics), "duration", *(["protocol"] if differ else [])]
    rows = []
    for row in table.to_dict("records"):
        cells = [_metric_cell(row, name) for name in metrics]
        seconds = row["duration_s"]
        cells.append(f"{seconds:.1f} s" if seconds == seconds else "-")
        own = [_cell(facts.get(row["setting"], ""))] if differ else []
        rows.append([_cell(row["setting"]), str(row["n"]), *cells, *own])
    return _table(head, rows, numbers_from=1)


def _metric_cell(row: Mapping[str, Any], name: str) -> str:
    text = format_metric(name, row[f"{name} mean"], row[f"{name} ci95"])
    n = row[f"{name} n"]
    return text if n in (0, row["n"]) else f"{text} (n = {n})"


def _differences(runs: "pd.DataFrame", metrics: list[str], baseline: str) -> list[str]:
    rows = []
    for name in metrics:
        if split_name(name).metric == "acc":
            for row in paired_differences(runs, name, baseline).to_dict("records"):
                text = format_metric(name, row["mean"], row["ci95"])
                sign = "+" if row["mean"] > 0 else ""
                seeds = f"{row['positive']} of {row['n']}"
                rows.append([_cell(row["setting"]), _cell(row["baseline"]), heading(name), sign + text, seeds])
    if not rows:
        return []
    return [
        f"## Difference to `{baseline}`, seed by seed",
        _table(["setting", "baseline", "metric", "difference", "seeds above zero"], rows, numbers_from=3),
        f"Mean ± {CONFIDENCE:.0%} paired Student t interval over the seeds that both have, in points; not corrected "
        "for the number of comparisons; no interval for one seed.",
    ]


def _selection(runs: "pd.DataFrame", table: "pd.DataFrame") -> list[str]:
    names = [name for name in runs if name.startswith(SELECTION) and runs[name].notna().any()]
    if not names:
        return []
    found = [row for row in table.to_dict("records") if any(row[f"{name} n"] for name in names)]
    # the bounds last, as in a run's own table
    names.sort(key=lambda name: (name.startswith(SELECTION + "oracle"), name.startswith(SELECTION + "last")))
    head = ["setting", "n", *(name.removeprefix(SELECTION).removesuffix("/target_acc") for name in names)]
    rows = [[_cell(row["setting"]), str(row["n"]), *(_metric_cell(row, name) for name in names)] for row in found]
    return [
        "## Target accuracy by what chooses the epoch",
        _table(head, rows, numbers_from=1),
        "Per cent, on the target's test part, at the epoch that each score would have chosen without the target's "
        "labels. The oracle chose by those labels: for comparison only.",
    ]


def _shared(runs: "pd.DataFrame") -> str:
    """What all runs have in common, for the settings' names leave it out."""
    columns = [name for name in runs if name.startswith(OVERRIDE) and name != f"{OVERRIDE}seed"]
    same = [name for name in columns if runs[name].notna().all() and runs[name].nunique() == 1]
    if not same:
        return ""
    return "All runs: " + ", ".join(f"`{name.removeprefix(OVERRIDE)}={runs[name].iloc[0]}`" for name in same) + "."


def facts_said(runs: "pd.DataFrame") -> str:
    """Name the protocol and the other facts that all runs share; the settings' table has the others."""
    facts = facts_of_all(runs)
    return f"Facts of all runs: {told(facts)}." if facts else ""


def _warnings(runs: "pd.DataFrame") -> list[str]:
    """Say what a reader would want to know before trusting the means."""
    done = runs[runs["status"] == "completed"]
    told = []
    repeated = len(done) - len(independent(runs))
    if repeated:
        told.append(f"{repeated} completed runs repeat a setting and seed: only the newest of each counts.")
    for column, what in (("git_commit", "code versions"), ("device", "devices"), ("versions", "library versions")):
        if done[column].nunique() > 1:
            told.append(f"The runs come from {done[column].nunique()} different {what} (`{column}` in results.csv).")
    if (done.groupby(["setting", "seed"])["data_hash"].nunique() > 1).any():
        told.append("Runs of the same setting and seed saw different data (`data_hash` in results.csv).")
    if done["seed"].isna().any():
        told.append("Some runs have no seed: each counts as a repeat of its own.")
    return [f"> **Note.** {text}" for text in told]


def _cell(value: Any) -> str:
    """Write a value in one cell of a Markdown table."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(str(value).replace("|", "\\|").split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(3, *(len(row[i]) for row in [head, *rows])) for i in range(len(head))]
    right = [numbers_from is not None and i >= numbers_from for i in range(len(head))]
    lines = [
        head,
        ["-" * (width - 1) + ":" if r else "-" * width for width, r in zip(widths, right, strict=True)],
        *rows,
    ]
    return "\n".join(
        "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)) + " |"
        for line in lines
    )
