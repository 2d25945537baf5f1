"""Report sections about runs: time and cost, runs that did not complete, and a table of all runs.

This module does not import torch.
"""

from tl_lab.results.names import duration, format_metric, heading
from tl_lab.results.report.blocks import Cell, Row, Section, Table, plain_cell
from tl_lab.results.tables.findings import Findings

__all__ = ["cost", "failures", "single_runs"]


def cost(found: Findings) -> Section:
    """Show duration and number of parameters by setting, and the total duration of all runs."""
    runs = found.runs
    timed = runs[runs["duration_s"].notna()]
    if not len(timed):
        return Section("Time and cost")
    rows: list[Row] = []
    for setting, of in timed.groupby("setting", sort=False):
        seconds, parameters = of["duration_s"], of["parameters_trainable"].dropna()
        rows.append(
            [
                str(setting),
                str(len(of)),
                Cell(duration(seconds.mean()), value=seconds.mean()),
                Cell(duration(seconds.max()), value=seconds.max()),
                Cell(duration(seconds.sum()), value=seconds.sum()),
                Cell(f"{parameters.iloc[0]:,.0f}", value=parameters.iloc[0]) if len(parameters) else "-",
                Cell(f"{of['parameters_total'].iloc[0]:,.0f}") if len(parameters) else "-",
            ]
        )
    head = ["setting", "runs", "mean time", "longest", "total time", "trainable parameters", "all parameters"]
    text = f"Total time of all runs, including failed ones: {duration(timed['duration_s'].sum())}."
    return Section("Time and cost", [Table(head, rows, 1, "Time and parameters by setting"), text], page_only=True)


def failures(found: Findings) -> list[Section]:
    """List the runs that failed, are missing or are still running, with the reasons."""
    failed = found.runs[found.runs["status"] != "completed"]
    if not len(failed):
        return []
    rows = failed[["folder", "setting", "seed", "status", "error"]].astype(object)
    cells = [[plain_cell(value) for value in row] for row in rows.itertuples(index=False)]
    head = ["run", "setting", "seed", "status", "reason"]
    return [Section("Not completed", [Table(head, cells, caption="Runs that did not complete")])]


def single_runs(found: Findings) -> Section:
    """Show all runs, one row each."""
    names = found.metrics[:4]
    head = ["run", "setting", "seed", "status", *map(heading, names), "duration", "commit", "configuration"]
    rows: list[Row] = []
    for row in found.runs.to_dict("records"):
        seconds = row["duration_s"]
        timed = Cell(duration(seconds), value=seconds) if seconds == seconds and seconds is not None else "-"
        rows.append(
            [
                str(row["folder"]),
                str(row["setting"]),
                plain_cell(row["seed"]),
                Cell(str(row["status"]), "" if row["status"] == "completed" else "bad"),
                *(Cell(format_metric(name, row[name]), value=row[name]) for name in names),
                timed,
                plain_cell(row["git_commit"])[:10],
                plain_cell(row["config_hash"])[:10],
            ]
        )
    return Section("Runs", [Table(head, rows, 2, "Single runs")], page_only=True, folded=True)
