"""``drift``: compare new data with the data of a run; exit code 2 if they differ, 3 if too few samples decide."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tl_lab.cli.paths import require_folder
from tl_lab.cli.trusting import add_allow
from tl_lab.importing import import_heavy

if TYPE_CHECKING:
    from tl_lab.assess.monitor import Monitored

__all__ = ["add"]

_EXIT = {"no drift": 0, "drift": 2, "undecided": 3}
# keys of tl_lab.assess.detectors.DETECTORS, which imports torch
_DETECTORS = (
    "softmax_ks, classes_chi2, pca_ks, pca_mmd, features_mmd, untrained_ks, untrained_mmd, softmax_mmd, features_ks"
)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "drift", help="test whether new data differ from a run's; exit code 2 if they do, 3 if undecided"
    )
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("new", nargs="+", help="data=... with its options, or a folder or file of new samples")
    parser.add_argument("--part", help="with data=...: the set to compare; default: the test set")
    parser.add_argument("--alpha", type=float, default=0.05, help="significance level of the tests; default: 0.05")
    parser.add_argument(
        "--correction",
        choices=["bonferroni", "fdr"],
        default="bonferroni",
        help="correction for multiple tests over dimensions; default: bonferroni",
    )
    parser.add_argument(
        "--detectors",
        metavar="NAME,...",
        help=f"detectors, separated by commas: {_DETECTORS}; default: all but the last two",
    )
    parser.add_argument("--skip-unreadable", action="store_true", help="skip unreadable files instead of stopping")
    parser.add_argument("--output", type=Path, help="the JSON file; default: <run>/drift/<time>.json")
    parser.add_argument("--json", action="store_true", help="print the JSON and nothing else")
    add_allow(parser)
    parser.set_defaults(command=_drift)


def _drift(options: argparse.Namespace) -> int:
    require_folder("drift", options.run)
    module = import_heavy("tl_lab.assess.monitor")
    chosen = {"detectors": [name.strip() for name in options.detectors.split(",")]} if options.detectors else {}
    found = module.monitor(
        options.run,
        options.new,
        part=options.part,
        alpha=options.alpha,
        correction=options.correction,
        allow=options.allow,
        skip_unreadable=options.skip_unreadable,
        **chosen,
    )
    path, content = module.write(found, options.run, options.output)
    if options.json:
        print(json.dumps(content))
    else:
        _show(found)
        print(path)
    return _EXIT[found.drift.verdict]


def _show(found: "Monitored") -> None:
    from rich.text import Text

    from tl_lab.assess.drift import compared, detections_table, estimates_table
    from tl_lab.assess.writing import screen_table
    from tl_lab.results.report.blocks import Cell, Table
    from tl_lab.results.screen.console import say

    drift = found.drift
    headline = {
        "drift": "Drift",
        "no drift": "No drift detected",
        "undecided": "Undecided: too few samples to detect drift",
    }[drift.verdict]
    tables = [detections_table(drift, compared(drift, "New data", "the reference"))]
    if drift.estimates:
        tables.append(estimates_table(drift, found.known, "Accuracy, estimated without labels"))
    if found.moved:
        rows: list[list[str | Cell]] = [[name, f"{distance:.2f}"] for name, distance in found.moved]
        caption = "Samples that moved most, in deviations of the reference"
        tables.append(Table(["sample", "distance"], rows, 1, caption))
    forgets = [] if found.forgets is None or drift.accuracy is None else [
        Text(f"Retrained on these data alone, a head would score {found.forgets.text(percent=True)} on the reference, "
             f"against {drift.accuracy.text(percent=True)} now.")
    ]  # fmt: skip
    seen = [] if drift.verdict != "no drift" else [
        Text(f"Smaller drifts may be missed: the tests find shifts of {drift.power.shift:.2f} standard deviations or "
             "more with a power of 80 %.")
    ]  # fmt: skip
    say(
        Text.assemble((headline, "bold"), (f"   {found.new.description}", "dim")),
        Text(found.advice[:1].upper() + found.advice[1:]),
        *seen,
        *forgets,
        *(row for table in tables for row in screen_table(table)),
        Text(),
    )
