"""Compute the content of a report, independent of its format.

This module does not import torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tl_lab.errors import UserError, nearest
from tl_lab.results.names import less_is_better
from tl_lab.results.tables.collecting import OVERRIDE, Folders, collect, expected_of
from tl_lab.results.tables.comparing import Ranking, Standing, data_keys, rank_methods, standings
from tl_lab.results.tables.curves import Curve, curve_names, mean_curve, read_curves
from tl_lab.results.tables.forgetting import Forgotten, find_forgotten
from tl_lab.results.tables.items import Items, find_items
from tl_lab.results.tables.label_budgets import Budget, Transfer, find_budgets, find_transfer
from tl_lab.results.tables.reproduction import Crossed, Reproduces
from tl_lab.results.tables.scale import OfSize, find_scale
from tl_lab.results.tables.summarising import find_crossed, headline, independent, leading_on_target, summarise
from tl_lab.results.tables.task_gains import Gain, find_gains

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BASELINE", "MOST_CURVES", "Findings", "find", "find_curves"]

BASELINE = "domain_adaptation=none"
"""Default override of the settings with which the others are compared."""
MOST_CURVES = 10
"""Largest number of settings whose curves are drawn, which is the number of distinguishable colours."""


@dataclass(frozen=True)
class Findings:
    """Results of the runs of a report.

    Args:
        runs: one row per run (:func:`tl_lab.results.tables.collecting.collect`).
        table: one row per setting (:func:`tl_lab.results.tables.summarising.summarise`).
        metrics: names of the metrics in the tables.
        standings: for each metric, the comparison of each setting with the best one, by setting.
        baseline: the override of the settings with which the others are compared.
        expected: published values for the experiment; None if there are none.
        crossed: methods by tasks, the metric and the key of the tasks; None if the runs form no such table.
        ranking: ranking of methods over data sets; None if there are too few.
        budgets: name of the main metric, and its summary by number of labels; None if the number was not swept.
        transfer: comparison of each way of transfer with training from scratch.
        items: the same comparison on single test items.
        gains: comparison of each task trained jointly with others with the same task trained alone.
        scale: scores of models of different sizes with the same prompts.
        forgotten: scores on the base model's own task, before and after training.
    """

    runs: "pd.DataFrame"
    table: "pd.DataFrame"
    metrics: list[str]
    standings: dict[str, dict[str, Standing]]
    baseline: str
    expected: Reproduces | None
    crossed: tuple[Crossed, str, str] | None
    ranking: Ranking | None
    budgets: tuple[str, list[Budget]] | None
    transfer: list[Transfer]
    items: list[Items] = field(default_factory=list)
    gains: list[Gain] = field(default_factory=list)
    scale: list[OfSize] = field(default_factory=list)
    forgotten: list[Forgotten] = field(default_factory=list)

    @property
    def main_metric(self) -> str | None:
        """The metric that selects settings for a figure: the main metric, on the target if there is one."""
        return leading_on_target(self.metrics) or next(iter(self.metrics), None)

    @property
    def root(self) -> Path:
        """The folder to which the folders of runs are relative."""
        return Path(self.runs.attrs["root"])


def _check_baseline(runs: "pd.DataFrame", baseline: str) -> None:
    swept = [name for name in runs if name.startswith(OVERRIDE)]
    valid = [f"{name.removeprefix(OVERRIDE)}={value}" for name in swept for value in runs[name].dropna().unique()]
    if baseline not in valid:
        raise UserError(f"report: no run has the baseline {baseline!r}; {nearest(baseline, valid)}")


def find(folders: Folders, baseline: str = BASELINE) -> Findings:
    """Read the runs in folders and their sub-folders, and compute the content of a report.

    Args:
        folders: folder of a sweep or of a run, or several of these.
        baseline: the override of the settings with which the others are compared, seed by seed.

    Raises:
        UserError: a folder does not exist, none contains a run, or no run has the requested baseline.
    """
    runs = collect(folders)
    if baseline != BASELINE:
        _check_baseline(runs, baseline)
    metrics, expected = headline(runs), expected_of(runs)
    crossed = find_crossed(runs, expected)
    over_data = crossed is not None and crossed[2] in [key for key in data_keys(runs) if key != "data.labels"]
    budgets = find_budgets(runs)
    return Findings(
        runs=runs,
        table=summarise(runs),
        metrics=metrics,
        standings={name: standings(runs, name) for name in metrics},
        baseline=baseline,
        expected=expected,
        crossed=crossed,
        ranking=rank_methods(crossed[0], crossed[1]) if crossed is not None and over_data else None,
        budgets=budgets,
        transfer=find_transfer(runs, *budgets) if budgets is not None else [],
        items=find_items(runs, budgets[1]) if budgets is not None else [],
        gains=find_gains(runs),
        scale=find_scale(runs),
        forgotten=find_forgotten(runs),
    )


def find_curves(found: Findings) -> dict[str, dict[str, Curve]]:
    """Average the learning curves of the settings with the best means, for at most ten settings.

    Args:
        found: content of the report, as returned by :func:`find`.

    Returns:
        For each metric, the curve of each setting by its name; empty if no run has logged anything.
    """
    done = independent(found.runs)
    settings = _best_settings(found)
    of_setting = {setting: list(done.loc[done["setting"] == setting, "folder"]) for setting in settings}
    of_setting = {setting: folders for setting, folders in of_setting.items() if folders}
    names: list[str] = []
    for folders in of_setting.values():
        names += [name for name in curve_names(found.root / folders[0]) if name not in names]
    curves: dict[str, dict[str, Curve]] = {name: {} for name in names[:3]}
    for setting, folders in of_setting.items():
        read = [read_curves(found.root / folder, names) for folder in folders]
        for name, panel in curves.items():
            if (curve := mean_curve([run[name] for run in read])) is not None:
                panel[setting] = curve
    return {name: panel for name, panel in curves.items() if panel}


def _best_settings(found: Findings) -> Sequence[str]:
    """Return the settings whose curves are drawn, in the order of the table."""
    table = found.table
    if (name := found.main_metric) is not None and len(table) > MOST_CURVES:
        table = table.sort_values(f"{name} mean", ascending=less_is_better(name), kind="stable")
        table = table.head(MOST_CURVES).sort_index()
    return [str(setting) for setting in table["setting"]]
