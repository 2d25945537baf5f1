"""Runs become tables: a row a run, a row a setting, and the page that shows them.

Nothing here imports torch: a report over a thousand runs takes seconds.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_lab.errors import UserError
from tl_lab.results.files import RESULTS, read_results, write_text
from tl_lab.results.names import format_metric, is_detail, is_share, readable, split_name
from tl_lab.results.protocol import facts_of_all, facts_of_settings, told
from tl_lab.results.reproduction import (
    Crossed,
    Reproduces,
    chosen,
    comparison_rows,
    cross,
    crossed_rows,
    swept_keys,
    verdict_rows,
)
from tl_lab.results.statistics import CONFIDENCE, t_quantile
from tl_lab.results.trade_off import trade_off

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

__all__ = [
    "collect",
    "crossed_sections",
    "find_crossed",
    "paired_differences",
    "show_summary",
    "summarise",
    "write_report",
]

_FIRST = (
    "folder", "setting", "seed", "status", "error", "oracle", "duration_s", "parameters_total", "parameters_trainable",
    "name", "device", "tested_checkpoint", "config_hash", "data_hash", "git_commit", "versions", "protocol", "written",
    "overrides",
)  # fmt: skip
_OVERRIDE = "override."
_SELECTION = "selection/"  # target accuracy at the epoch that a validator would have chosen
_NEVER_ENTERED = {"checkpoints", "figures", "wandb", ".git", ".hydra"}
_MOST_IN_FIGURE = 40
_PICTURES = {
    "settings": "Settings: mean, interval and single seeds",
    "trade_off": "Settings: accuracy on the last task and mean accuracy on the tasks before it, with intervals",
}
_INTERVALS = "Mean ± 95 % Student t interval over seeds; none for one seed."
_METHODS = "domain_adaptation"  # the swept key whose values are compared, where the experiment names no other
Folders = str | Path | Iterable[str | Path]


def collect(folders: Folders) -> "pd.DataFrame":
    """Gather the runs below one or several folders, a row each.

    A run is a folder with ``results.json`` or ``.hydra/overrides.yaml``; one without results, or with damaged
    ones, is a row too, and says so.

    Args:
        folders: a sweep's folder, a run's folder, or several of either.

    Returns:
        Columns: ``folder``; ``setting`` (the overrides that differ between runs, without the seed; an oracle is
        marked); ``seed``;
        ``status`` (completed, failed, running, or missing) and ``error``; ``duration_s``; parameter counts;
        name, device, hashes, commit, versions, protocol; ``overrides`` as one text and each as ``override.<key>``;
        then the metrics under their names. Runs of a folder are in natural order.

    Raises:
        UserError: a folder does not exist, or there is no run below any.
    """
    import pandas as pd

    roots = [Path(folders)] if isinstance(folders, str | os.PathLike) else [Path(folder) for folder in folders]
    for root in roots:
        if not root.is_dir():
            raise UserError(f"There is no folder {root}: give the folder of a run or of a sweep.")
    found = dict.fromkeys(run.resolve() for root in roots for run in _runs(root))
    if not found:
        raise UserError(f"There is no run below {', '.join(map(str, roots))}: give a folder whose runs hold {RESULTS}.")
    common = Path(os.path.commonpath(found)) if len(found) > 1 else next(iter(found)).parent
    rows = [_row(run, str(run.relative_to(common))) for run in found]
    settings = _settings([row.pop("_overrides") for row in rows])
    marked = [
        f"{setting} (oracle)" if row.get("oracle") else setting for row, setting in zip(rows, settings, strict=True)
    ]
    frame = pd.DataFrame([row | {"setting": setting} for row, setting in zip(rows, marked, strict=True)])
    names = [name for name in frame if name not in _FIRST]
    overrides = [name for name in names if name.startswith(_OVERRIDE)]
    metrics = sorted((name for name in names if name not in overrides), key=_metric_rank)
    frame = frame.reindex(columns=[*_FIRST, *overrides, *metrics])
    frame.attrs["root"] = str(common)
    return frame


def summarise(df: "pd.DataFrame", confidence: float = CONFIDENCE) -> "pd.DataFrame":
    """Summarise runs over seeds, a row a setting.

    The half-width of a metric's interval is ``t((1 + confidence) / 2, n - 1) * s / sqrt(n)``, with Student's t
    and the standard deviation s over seeds (ddof 1). There is none for n = 1. Only completed runs count, and of
    several with the same setting and seed only the newest, for they are no independent repeats.

    Args:
        df: runs as :func:`collect` gives them.
        confidence: what the interval covers, in (0, 1).

    Returns:
        Columns ``setting``, ``n`` (seeds), ``not_completed`` (runs), ``duration_s`` (mean), and for each metric
        ``<metric> mean``, ``<metric> ci95`` (half-width; NaN for n = 1) and ``<metric> n``.
    """
    import pandas as pd

    completed = _independent(df)
    metrics = _metric_columns(df)
    every = df.groupby("setting", sort=False)
    groups = completed.groupby("setting", sort=False)
    order = list(every.groups)
    table = pd.DataFrame({"setting": order})
    table["n"] = groups.size().reindex(order, fill_value=0).to_numpy()
    table["not_completed"] = (df["status"] != "completed").groupby(df["setting"], sort=False).sum().to_numpy()
    table["duration_s"] = groups["duration_s"].mean().reindex(order).to_numpy(dtype=float)
    columns = {}
    for name in metrics:
        of = groups[name]
        n = of.count().reindex(order, fill_value=0).to_numpy()
        spread = of.std(ddof=1).reindex(order).to_numpy(dtype=float)
        quantile = t_quantile(n, confidence)
        columns[f"{name} mean"] = of.mean().reindex(order).to_numpy(dtype=float)
        columns[f"{name} ci95"] = quantile * spread / np.sqrt(np.maximum(n, 1))
        columns[f"{name} n"] = n
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def paired_differences(
    df: "pd.DataFrame", metric: str, baseline: str = "domain_adaptation=none", confidence: float = CONFIDENCE
) -> "pd.DataFrame":
    """Compare each setting with its baseline over the seeds that both have.

    The baseline of a setting is the one that differs from it in the baseline's key alone. The interval is that
    of the mean of the paired differences, Student's t with n - 1 degrees of freedom, not corrected for the
    number of comparisons.

    Args:
        df: runs as :func:`collect` gives them.
        metric: the metric's name.
        baseline: the override that makes a setting a baseline.
        confidence: what the interval covers, in (0, 1).

    Returns:
        A row for each setting that has a baseline and at least one common seed: ``setting``, ``baseline``, ``n``,
        ``mean``, ``ci95`` (half-width; NaN for n = 1), and ``positive`` (the number of seeds with a difference
        above zero). Empty where there is no baseline.
    """
    import pandas as pd

    names = ["setting", "baseline", "n", "mean", "ci95", "positive"]
    key, _, value = baseline.partition("=")
    if f"{_OVERRIDE}{key}" not in df or metric not in df:
        return pd.DataFrame(columns=names)
    completed = _independent(df)
    others = [name for name in df if name.startswith(_OVERRIDE) and name not in (_OVERRIDE + key, _OVERRIDE + "seed")]
    rest = completed[others].fillna("").agg("\0".join, axis=1) if others else pd.Series("", completed.index)
    is_baseline = completed[_OVERRIDE + key] == value
    scores = completed[["setting", "seed", metric]].assign(rest=rest)
    of_baseline = scores[is_baseline].rename(columns={"setting": "baseline", metric: "base"})
    both = scores[~is_baseline].merge(of_baseline, on=["rest", "seed"]).dropna(subset=[metric, "base"])
    rows = []
    for (setting, base), pairs in both.groupby(["setting", "baseline"], sort=False):
        difference = (pairs[metric] - pairs["base"]).to_numpy(dtype=float)
        n = len(difference)
        spread = difference.std(ddof=1) if n > 1 else np.nan
        half = float(t_quantile(n, confidence)) * spread / np.sqrt(n)
        rows.append((setting, base, n, difference.mean(), half, int((difference > 0).sum())))
    return pd.DataFrame(rows, columns=names)


def write_report(
    folder: Folders, out: str | Path | None = None, baseline: str = "domain_adaptation=none", figure: bool = True
) -> Path:
    """Write ``results.csv``, ``summary.md`` and ``figures/settings.png`` over the runs below a folder.

    Of several settings of a stream of tasks also ``figures/trade_off.png``.

    Args:
        folder: a sweep's folder, or several folders.
        out: where to write; None: the (first) folder.
        baseline: the override whose settings the others are compared with, seed by seed.
        figure: whether to draw the figures too.

    Returns:
        The path of ``summary.md``.

    Raises:
        UserError: there is no run, or a file cannot be written.
    """
    folders = [folder] if isinstance(folder, str | os.PathLike) else list(folder)
    runs = collect(folders)
    target = Path(out) if out is not None else Path(folders[0])
    write_text(target / "results.csv", runs.to_csv(index=False, lineterminator="\n"))
    table = summarise(runs)
    metrics = _headline(runs)
    pictures = _draw(runs, table, metrics, target / "figures") if figure else []
    expected = _expected(runs)
    return write_text(target / "summary.md", _markdown(runs, table, metrics, baseline, pictures, expected))


def _draw(runs: "pd.DataFrame", table: "pd.DataFrame", metrics: list[str], folder: Path) -> list[str]:
    """Draw what there is to draw, and name it."""
    drawn = table[table["n"] > 0].head(_MOST_IN_FIGURE)
    if not metrics or not len(drawn):
        return []
    from tl_lab.results.figures import save_figures, settings_intervals
    from tl_lab.results.stream_figures import trade_off_figure

    independent = _independent(runs)
    shown = [name for name in metrics if split_name(name).metric == "acc"][:3] or metrics[:3]
    figures = {"settings": settings_intervals(drawn, shown, independent, CONFIDENCE)}
    traded = trade_off(independent).head(_MOST_IN_FIGURE)
    if len(traded) > 1:
        figures["trade_off"] = trade_off_figure(traded, CONFIDENCE)
    save_figures(figures, folder)
    return list(figures)


def find_crossed(runs: "pd.DataFrame", expected: Reproduces | None = None) -> tuple[Crossed, str, str] | None:
    """Arrange runs by method and task, where the experiment says what these are, or two keys were swept.

    Args:
        runs: as :func:`collect` gives them.
        expected: what the experiment is held against.

    Returns:
        The table, its metric, and the key of the tasks (empty for one task); None where runs form no such table.
    """
    independent = _independent(runs)
    if expected is not None:
        table = cross(chosen(independent, expected), expected.metric, expected.methods, expected.tasks)
        return None if table is None else (table, expected.metric, expected.tasks or "")
    others = [key for key in swept_keys(runs) if key != _METHODS]
    metric = next((name for name in _headline(runs) if name.endswith("target/acc")), None)
    if metric is None or len(others) != 1 or _METHODS not in swept_keys(runs):
        return None
    table = cross(independent, metric, _METHODS, others[0])
    return None if table is None else (table, metric, others[0])


# --- reading -----------------------------------------------------------------------------------------------------


def _expected(runs: "pd.DataFrame") -> Reproduces | None:
    """Read what the experiment is held against from a run's configuration; None where runs do not agree on it."""
    import yaml

    nodes = []
    for folder in runs["folder"]:
        try:
            text = (Path(runs.attrs["root"]) / folder / "config.yaml").read_text(encoding="utf-8")
            nodes.append(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)).get("reproduces"))
        except (OSError, ValueError, AttributeError, yaml.YAMLError):
            continue
    if not nodes or any(node != nodes[0] for node in nodes):
        return None
    try:
        return Reproduces.from_node(nodes[0])
    except UserError:  # a file from elsewhere; the runs' own numbers stand
        return None


def _runs(root: Path) -> Iterator[Path]:
    """Yield the run folders at or below a folder, in natural order (2 before 10)."""
    for path, folders, files in os.walk(root):
        if RESULTS in files or (".hydra" in folders and (Path(path) / ".hydra" / "overrides.yaml").is_file()):
            yield Path(path)
            folders[:] = [name for name in folders if name not in _NEVER_ENTERED]
        else:
            folders[:] = [name for name in folders if not name.startswith(".")]
        folders.sort(key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _row(run: Path, folder: str) -> dict[str, Any]:
    overrides = _overrides(run / ".hydra" / "overrides.yaml")
    row: dict[str, Any] = {
        "folder": folder,
        "overrides": " ".join(f"{key}={value}" for key, value in overrides.items()),
        "_overrides": overrides,
        **{_OVERRIDE + key: value for key, value in overrides.items()},
    }
    try:
        results = read_results(run)
    except UserError as error:
        reason = str(error) if (run / RESULTS).exists() else f"ended before it could write {RESULTS}"
        return row | {"status": "missing", "error": reason, "seed": _number(overrides.get("seed"))}
    parameters = results.get("parameters") or {}
    plain = ("oracle", "name", "device", "tested_checkpoint", "config_hash", "data_hash", "git_commit", "duration_s")
    row |= {name: results.get(name) for name in plain}
    row["status"], row["error"] = results.get("status", "missing"), results.get("error")
    if row["status"] == "running" and not row["error"]:
        row["error"] = "still running, or ended without a word (killed, out of memory)"
    seed = results.get("seed")
    row["seed"] = seed if seed is not None else _number(overrides.get("seed"))
    row["parameters_total"], row["parameters_trainable"] = parameters.get("total"), parameters.get("trainable")
    row["versions"] = json.dumps(results.get("versions") or {}, sort_keys=True)
    row["protocol"] = json.dumps(results.get("protocol") or {})
    row["written"] = datetime.fromtimestamp((run / RESULTS).stat().st_mtime).isoformat(timespec="microseconds")
    metrics = results.get("metrics") or {}
    for choice in results.get("selection") or ():
        row[f"{_SELECTION}{choice['chooser']}/target_acc"] = (
            float("nan") if choice["target_acc"] is None else choice["target_acc"]
        )
    return row | {name: float("nan") if value is None else value for name, value in metrics.items()}


def _overrides(path: Path) -> dict[str, str]:
    """Read Hydra's list of overrides; ``+key=value`` and ``key=value`` are the same choice, ``~key`` removes."""
    import yaml

    try:
        lines = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or []
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    pairs = {}
    for line in map(str, lines if isinstance(lines, list) else []):
        key, _, value = line.partition("=")
        pairs[key.lstrip("+~")] = "(removed)" if line.startswith("~") else value
    return pairs


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None


def _settings(overrides: Sequence[Mapping[str, str]]) -> list[str]:
    """Name each run's setting by the overrides that are not the same in all runs, the seed left out."""
    keys = dict.fromkeys(key for pairs in overrides for key in pairs if key != "seed")
    varying = [key for key in keys if len({pairs.get(key) for pairs in overrides}) > 1]
    return [
        " ".join(f"{key}={pairs[key]}" for key in varying if key in pairs) or ("defaults" if varying else "all runs")
        for pairs in overrides
    ]


# --- choosing ----------------------------------------------------------------------------------------------------


def _metric_columns(df: "pd.DataFrame") -> list[str]:
    from pandas.api.types import is_numeric_dtype

    names = [name for name in df if name not in _FIRST and not name.startswith(_OVERRIDE)]
    return [name for name in names if is_numeric_dtype(df[name])]


def _metric_rank(name: str) -> tuple[int, list[tuple[int, str]], int, str]:
    split, part, metric = split_name(name)
    splits, metrics = ("test", "val", "train", "oracle"), ("acc", "balanced_acc", "f1_macro")
    return (
        splits.index(split) if split in splits else len(splits),
        _natural(part),
        metrics.index(metric) if metric in metrics else len(metrics),
        metric,
    )


def _headline(df: "pd.DataFrame") -> list[str]:
    """The metrics of the table: those of the test sets, else of validation; no losses, no per-sample intervals,
    of a single task its accuracy alone."""
    named = [(name, *split_name(name)) for name in _metric_columns(df) if df[name].notna().any()]
    for wanted in ("test", "val"):
        chosen = [
            name for name, split, _, metric in named
            if split == wanted and "loss" not in metric and not metric.endswith("_ci95") and not is_detail(name)
        ]  # fmt: skip
        if chosen:
            return sorted(chosen, key=lambda name: _metric_rank(name)[2:])  # all accuracies first
    return []


def _independent(df: "pd.DataFrame") -> "pd.DataFrame":
    """The completed runs, the newest of each setting and seed; runs of unknown seed are all kept."""
    completed = df[df["status"] == "completed"]
    newest = completed.sort_values("written", kind="stable")
    repeated = newest["seed"].notna() & newest.duplicated(["setting", "seed"], keep="last")
    return newest[~repeated].sort_index()


# --- writing -----------------------------------------------------------------------------------------------------


def _markdown(
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
        _facts(runs),
        *_warnings(runs),
        *crossed_sections(find_crossed(runs, expected), expected),
        "## Settings",
        _settings_table(table, metrics, facts_of_settings(runs)),
        f"Mean ± {CONFIDENCE:.0%} confidence interval over seeds (half-width t · s / √n, Student's t with n - 1 "
        "degrees of freedom, s with ddof = 1); n is the number of seeds; no interval for n = 1. Accuracies and F1 in "
        "per cent. Duration: mean of a run.",
    ]
    parts += [f"![{_PICTURES[name]}](figures/{name}.png)" for name in pictures]
    if pictures and len(table) > _MOST_IN_FIGURE:
        parts.append(f"The figure{'s show' if len(pictures) > 1 else ' shows'} the first {_MOST_IN_FIGURE} settings.")
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
        f"## {_title(metric)} by method" + (f" and `{tasks}`" if tasks else ""),
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
    head = ["setting", "n", *map(_heading, metrics), "duration", *(["protocol"] if differ else [])]
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
                rows.append([_cell(row["setting"]), _cell(row["baseline"]), _heading(name), sign + text, seeds])
    if not rows:
        return []
    return [
        f"## Difference to `{baseline}`, seed by seed",
        _table(["setting", "baseline", "metric", "difference", "seeds above zero"], rows, numbers_from=3),
        f"Mean ± {CONFIDENCE:.0%} paired Student t interval over the seeds that both have, in points; not corrected "
        "for the number of comparisons; no interval for one seed.",
    ]


def _selection(runs: "pd.DataFrame", table: "pd.DataFrame") -> list[str]:
    names = [name for name in runs if name.startswith(_SELECTION) and runs[name].notna().any()]
    if not names:
        return []
    found = [row for row in table.to_dict("records") if any(row[f"{name} n"] for name in names)]
    # the bounds last, as in a run's own table
    names.sort(key=lambda name: (name.startswith(_SELECTION + "oracle"), name.startswith(_SELECTION + "last")))
    head = ["setting", "n", *(name.removeprefix(_SELECTION).removesuffix("/target_acc") for name in names)]
    rows = [[_cell(row["setting"]), str(row["n"]), *(_metric_cell(row, name) for name in names)] for row in found]
    return [
        "## Target accuracy by what chooses the epoch",
        _table(head, rows, numbers_from=1),
        "Per cent, on the target's test part, at the epoch that each score would have chosen without the target's "
        "labels. The oracle chose by those labels: for comparison only.",
    ]


def _shared(runs: "pd.DataFrame") -> str:
    """What all runs have in common, for the settings' names leave it out."""
    columns = [name for name in runs if name.startswith(_OVERRIDE) and name != f"{_OVERRIDE}seed"]
    same = [name for name in columns if runs[name].notna().all() and runs[name].nunique() == 1]
    if not same:
        return ""
    return "All runs: " + ", ".join(f"`{name.removeprefix(_OVERRIDE)}={runs[name].iloc[0]}`" for name in same) + "."


def _facts(runs: "pd.DataFrame") -> str:
    """Name the protocol and the other facts that all runs share; the settings' table has the others."""
    facts = facts_of_all(runs)
    return f"Facts of all runs: {told(facts)}." if facts else ""


def _warnings(runs: "pd.DataFrame") -> list[str]:
    """Say what a reader would want to know before trusting the means."""
    done = runs[runs["status"] == "completed"]
    told = []
    repeated = len(done) - len(_independent(runs))
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


def _heading(name: str) -> str:
    split, part, metric = split_name(name)
    words = " ".join(filter(None, (split, part, readable(metric))))
    return words + (" %" if is_share(metric) else "")


def _title(name: str) -> str:
    heading = _heading(name).removesuffix(" %")
    return heading[:1].upper() + heading[1:]


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


def show_summary(folder: str | Path) -> None:
    """Print what a sweep found: methods by tasks where it compared these, else test accuracies, a row a setting.

    Args:
        folder: the sweep's folder.
    """
    from rich.text import Text

    from tl_lab.results.console import say

    runs = collect([folder])
    expected = _expected(runs)
    if (found := find_crossed(runs, expected)) is not None and len(found[0].tasks) > 1:
        crossed, metric, key = found
        head, rows = crossed_rows(crossed, metric, key, expected)
        note = f"{_heading(metric)}. {_INTERVALS} {_facts(runs)}".strip()
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

    from tl_lab.results.console import say

    summary = summarise(runs)
    ending = "/acc mean"
    names = [name for name in summary.columns if name.startswith("test/") and name.endswith(ending)]
    if f"test{ending}" in names:  # of a stream the mean over tasks is enough for a terminal
        names = [name for name in names if not split_name(name).part.startswith("task")]
    parts = [split_name(name.removesuffix(" mean")).part for name in names]
    head = ["setting", "seeds", *(f"{part} accuracy %".strip() for part in parts)]
    rows = []
    for _, row in summary.iterrows():
        scores = [format_metric("acc", row[name], row[f"{name.removesuffix(' mean')} ci95"]) for name in names]
        rows.append([str(row["setting"]), str(row["n"]), *scores])
    say(Text(), _plain_table(head, rows), Text(f"{_INTERVALS} {_facts(runs)}".strip(), style="dim"))


def _plain_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """A table for the terminal, its first column words, the others numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
