"""The sections of a report, which ``summary.md`` and ``report.html`` share.

This module does not import torch.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tl_lab.results.names import (
    ASSUMED,
    describe_units,
    format_difference,
    heading,
    is_share,
    leading_metric,
    leads,
    readable,
    split_name,
)
from tl_lab.results.report.blocks import Cell, Picture, Row, Section, Table, few_seeds_note, format_summary, p_cell
from tl_lab.results.report.protocol import facts_of_all, facts_of_settings, format_facts
from tl_lab.results.report.sections_of_forgetting import forgetting_parts
from tl_lab.results.report.sections_of_labels import label_parts
from tl_lab.results.report.sections_of_multi_task import gain_parts
from tl_lab.results.report.sections_of_runs import cost, failures, single_runs
from tl_lab.results.report.sections_of_scale import scale_parts
from tl_lab.results.report.sections_of_tasks import crossed_parts, ranking_parts
from tl_lab.results.tables.collecting import OVERRIDE, SELECTION
from tl_lab.results.tables.comparing import Standing, data_keys
from tl_lab.results.tables.findings import Findings
from tl_lab.results.tables.statistics import CONFIDENCE_LEVEL, FEWEST_SEEDS, TOO_FEW, holm
from tl_lab.results.tables.summarising import independent, paired_differences
from tl_lab.results.tables.winners import describe_winners
from tl_lab.texts import counted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MOST_IN_FIGURE", "describe_facts", "sections"]

MOST_IN_FIGURE = 40
"""Largest number of settings in a figure."""


def sections(found: Findings, pictures: Sequence[str]) -> list[Section]:
    """Describe all findings of a report in sections.

    Args:
        found: content of the report.
        pictures: names of the drawn figures.

    Returns:
        The sections; the first one is the summary.
    """
    every = [
        _summary(found),
        *crossed_parts(found.crossed, found.expected),
        *ranking_parts(found.ranking, pictures),
        *label_parts(found, pictures),
        *gain_parts(found),
        *scale_parts(found, pictures),
        _settings(found, pictures),
        *forgetting_parts(found),
        *_curves(pictures),
        *_texts(pictures),
        *_beside_best(found),
        *_differences(found),
        *_selection(found),
        cost(found),
        *failures(found),
        single_runs(found),
    ]
    return [section for section in every if section.parts]


# ---------------------------------------------------------------------- facts of all runs


def _summary(found: Findings) -> Section:
    runs = found.runs
    completed = int((runs["status"] == "completed").sum())
    total, settings = counted(len(runs), "run"), counted(len(found.table), "setting")
    text = f"{total}, {completed} completed, {len(runs) - completed} not; {settings}."
    return Section(
        "Summary",
        [
            text,
            *filter(None, [describe_winners(runs), _shared(runs), describe_facts(runs), _origin(runs)]),
            *_warnings(runs),
        ],
    )


def _shared(runs: "pd.DataFrame") -> str:
    """List the overrides that all runs share, which the names of settings omit."""
    columns = [name for name in runs if name.startswith(OVERRIDE) and name != f"{OVERRIDE}seed"]
    same = [name for name in columns if runs[name].notna().all() and runs[name].nunique() == 1]
    if not same:
        return ""
    return "All runs: " + ", ".join(f"`{name.removeprefix(OVERRIDE)}={runs[name].iloc[0]}`" for name in same) + "."


def describe_facts(runs: "pd.DataFrame") -> str:
    """List the protocol and the other facts that all runs share; the table of settings has those that differ."""
    facts = facts_of_all(runs)
    return f"Facts of all runs: {format_facts(facts)}." if facts else ""


def _origin(runs: "pd.DataFrame") -> str:
    """List the commits of the completed runs and the devices on which they ran."""
    done = runs[runs["status"] == "completed"]
    commits = [f"`{str(commit)[:10]}{str(commit)[40:]}`" for commit in done["git_commit"].dropna().unique()]
    devices = [str(device) for device in done["device"].dropna().unique()]
    if not commits or not devices:
        return ""
    return f"Code: commit {', '.join(commits)}; device: {', '.join(devices)}."


def _warnings(runs: "pd.DataFrame") -> list[str]:
    """List caveats about the means."""
    done = runs[runs["status"] == "completed"]
    notes = []
    repeated = len(done) - len(independent(runs))
    if repeated:
        notes.append(f"{repeated} completed runs repeat a setting and seed; only the newest of each counts.")
    for column, what in (("git_commit", "code versions"), ("device", "devices"), ("versions", "library versions")):
        if done[column].nunique() > 1:
            notes.append(f"The runs come from {done[column].nunique()} different {what} (`{column}` in results.csv).")
    if done["git_commit"].astype(str).str.contains("+changes", regex=False).any():
        notes.append("Some runs come from code that was never committed (`+changes` in results.csv).")
    if (done.groupby(["setting", "seed"])["data_hash"].nunique() > 1).any():
        notes.append("Runs of the same setting and seed used different data (`data_hash` in results.csv).")
    if left_out := runs.attrs.get("trials_left_out", 0):
        notes.append(f"{left_out} trials of a search are left out, because they only chose settings.")
    if runs["trial"].all():
        notes.append(
            "These are trials of a search, which choose settings by validation data; test scores are not shown."
        )
    if done["seed"].isna().any():
        notes.append("Some runs have no seed; each counts as a separate repetition.")
    return [f"> **Note.** {text}" for text in notes]


# ---------------------------------------------------------------------- settings


def _settings(found: Findings, pictures: Sequence[str]) -> Section:
    facts = facts_of_settings(found.runs)
    differ = any(facts.values())
    head = ["setting", "n", *map(heading, found.metrics), "duration", *(["protocol"] if differ else [])]
    rows: list[Row] = []
    for row in found.table.to_dict("records"):
        cells = [_metric_cell(row, name, found.standings[name].get(row["setting"])) for name in found.metrics]
        seconds = row["duration_s"]
        cells.append(Cell(f"{seconds:.1f} s" if seconds == seconds else "-", value=seconds))
        own = [facts.get(row["setting"], "")] if differ else []
        rows.append([str(row["setting"]), str(row["n"]), *cells, *own])
    few = few_seeds_note([n for name in found.metrics for n in found.table[f"{name} n"]], "no interval for n = 1")
    text = (
        f"Mean ± {CONFIDENCE_LEVEL} confidence interval over seeds (half-width t · s / √n, Student's t with n - 1 "
        f"degrees of freedom, s with ddof = 1); n is the number of seeds; {few}. "
        f"{describe_units(found.metrics)} Duration: mean of a run."
    )
    parts: list[str | Table | Picture] = [Table(head, rows, 1, "Metrics and duration by setting"), text]
    if any(found.standings.values()):
        parts.append(_explain_marks(found))
    score = readable(leading_metric(found.metrics) or ASSUMED)
    named = {
        "settings": "Settings: mean, interval and single seeds",
        "trade_off": f"Settings: {score} on the last task and mean {score} on the earlier tasks, with intervals",
    }
    named["parameters"] = f"Settings: {score} against the number of trainable parameters, with intervals"
    drawn = [Picture(name, caption) for name, caption in named.items() if name in pictures]
    parts += drawn
    if drawn and len(found.table) > MOST_IN_FIGURE:
        parts.append(f"The figure{'s show' if len(drawn) > 1 else ' shows'} the first {MOST_IN_FIGURE} settings.")
    return Section("Settings", parts)


def _explain_marks(found: Findings) -> str:
    words = {each.word for of_metric in found.standings.values() for each in of_metric.values()}
    keys = ", ".join(f"`{key}`" for key in data_keys(found.runs))
    if words == {"unknown"}:
        return f"No setting is marked as the best, which requires {FEWEST_SEEDS} seeds."
    text = f"**Bold**: the best mean of at least {FEWEST_SEEDS} seeds"
    text += (f" among settings of the same {keys}" if keys else "") + "."
    test = (
        "worse than the best by the paired t-test over common seeds at 5 %, Holm-corrected for the number of settings "
        "compared with it."
    )
    if "level" in words:
        text += f" ≈: not significantly {test}"
    elif "worse" in words:
        text += f" {'The others tested' if 'unknown' in words else 'All others'} are significantly {test}"
    if "unknown" in words:
        text += f" Settings with fewer than {FEWEST_SEEDS} seeds in common with the best are undecided and not marked."
    return text


def _metric_cell(row: Mapping[str, Any], name: str, standing: Standing | None = None) -> Cell:
    text = format_summary(row, name)
    n = row[f"{name} n"]
    text = text if n in (0, row["n"]) else f"{text} (n = {n})"
    return Cell(text, standing.word if standing is not None else "", row[f"{name} mean"])


def _curves(pictures: Sequence[str]) -> list[Section]:
    if "curves" not in pictures:
        return []
    caption = (
        "Mean over seeds, with a band of one standard deviation (ddof 1) on either side, or between the values of two "
        "seeds; at most the ten best settings"
    )
    return [Section("Learning curves", [Picture("curves", caption)])]


def _texts(pictures: Sequence[str]) -> list[Section]:
    if "texts" not in pictures:
        return []
    caption = (
        "Texts of the test set, placed by the features of the first run of each setting (t-SNE); on the page, point at "
        "a dot to read its text, its label and the prediction"
    )
    return [Section("Texts", [Picture("texts", caption)])]


def _beside_best(found: Findings) -> list[Section]:
    """Compare settings with the best; two settings only by metrics that are not compared with the baseline already."""
    repeated = {name for name, _ in _paired(found)} if len(found.table) == 2 else set()
    standings = {name: of_metric for name, of_metric in found.standings.items() if name not in repeated}
    rows: list[Row] = []
    for name, of_metric in standings.items():
        for setting, standing in of_metric.items():
            if (difference := standing.difference) is not None:
                verdict = {"level": "not significantly worse", "unknown": TOO_FEW}.get(standing.word, standing.word)
                cells = [
                    Cell(
                        format_difference(name, difference.mean, difference.half, difference.both),
                        value=difference.mean,
                    ),
                    Cell(str(difference.n), value=difference.n),
                    p_cell(standing.p),
                    Cell(verdict, standing.word),
                ]
                rows.append([setting, heading(name), *cells])
    if not rows:
        return []
    head = ["setting", "metric", "difference from the best", "n", "p (paired t, Holm)", "verdict"]
    each = [standing.difference for of_metric in standings.values() for standing in of_metric.values()]
    few = few_seeds_note([difference.n for difference in each if difference is not None], before="; ")
    text = (
        "Paired differences over the seeds in common with the best setting on the same data, "
        f"± {CONFIDENCE_LEVEL} Student t interval{few}. The best setting was selected by the same scores, which makes "
        "differences from it appear larger than they are."
    )
    return [
        Section(
            "Comparison with the best, seed by seed",
            [Table(head, rows, 2, "Differences from the best setting"), text],
            page_only=True,
            folded=True,
        )
    ]


def _paired(found: Findings) -> list[tuple[str, dict[str, Any]]]:
    """Compare each setting with its baseline by each main metric."""
    return [
        (name, row)
        for name in found.metrics
        if leads(name)
        for row in paired_differences(found.runs, name, found.baseline).to_dict("records")
    ]


def _differences(found: Findings) -> list[Section]:
    made = _paired(found)
    if not made:
        return []
    corrected: list[float | None] = []
    for name in dict.fromkeys(name for name, _ in made):  # one family of tests per metric
        corrected += holm([row["p"] if row["n"] >= FEWEST_SEEDS else None for of, row in made if of == name])
    rows: list[Row] = [
        [
            row["setting"],
            row["baseline"],
            heading(name),
            Cell(
                format_difference(name, row["mean"], row["ci95"], (row["low"], row["high"])),
                value=row["mean"],
            ),
            f"{row['positive']} of {row['n']}",
            p_cell(p),
        ]
        for (name, row), p in zip(made, corrected, strict=True)
    ]
    head = ["setting", "baseline", "metric", "difference", "seeds above zero", "p (paired t, Holm)"]
    few = few_seeds_note([row["n"] for _, row in made], "no interval for one seed")
    points = ", in points" if any(is_share(split_name(name).metric) for name, _ in made) else ""
    text = (
        f"Mean ± {CONFIDENCE_LEVEL} paired Student t interval over common seeds{points}; {few}. p is that of the "
        "paired t-test, corrected for the number of settings compared by the same metric; with fewer than "
        f"{FEWEST_SEEDS} seeds, nothing is tested."
    )
    return [
        Section(
            f"Difference from `{found.baseline}`, seed by seed",
            [Table(head, rows, 3, f"Differences from {found.baseline}"), text],
        )
    ]


def _selection(found: Findings) -> list[Section]:
    """Show the target score at the epochs chosen by validators, with one section per main metric."""
    runs = found.runs
    names = [name for name in runs if name.startswith(SELECTION) and runs[name].notna().any()]
    # last epoch and oracle are the last columns, as in a run's own table
    names.sort(key=lambda name: (name.startswith(SELECTION + "oracle"), name.startswith(SELECTION + "last")))
    by_ending: dict[str, list[str]] = {}
    for name in names:
        by_ending.setdefault(name.rpartition("/")[2], []).append(name)
    return [
        _selection_by(found, ending, of_metric)
        for ending, of_metric in by_ending.items()
        if (runs[of_metric].nunique(axis=1) > 1).any()  # equal scores, such as those of a single epoch, compare nothing
    ]


def _selection_by(found: Findings, ending: str, names: Sequence[str]) -> Section:
    rows = [row for row in found.table.to_dict("records") if any(row[f"{name} n"] for name in names)]
    head = ["setting", "n", *(name.removeprefix(SELECTION).removesuffix(f"/{ending}") for name in names)]
    cells: list[Row] = [
        [str(row["setting"]), str(row["n"]), *(_metric_cell(row, name) for name in names)] for row in rows
    ]
    text = (
        f"{'Per cent, on' if is_share(ending) else 'On'} the target's test part, at the epoch that each score would "
        "have chosen without the target's labels. The oracle uses these labels, and is for comparison only."
    )
    metric = readable(ending.removeprefix("target_"))
    return Section(
        f"Target {metric} by what chooses the epoch",
        [Table(head, cells, 1, f"Target {metric} at the chosen epochs"), text],
    )
