"""``report``: write the tables, figures and page of one sweep or several."""

import argparse
import os
from datetime import datetime
from pathlib import Path

from tl_lab.cli.paths import require_folder

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("report", help="write the tables, figures and page of one sweep or several")
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder", help="folders of sweeps or runs")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder to write to; default: the given one; for several, a new outputs/reports/<time>",
    )
    parser.add_argument(
        "--baseline",
        default="domain_adaptation=none",
        help="the override with which the others are compared; default: domain_adaptation=none",
    )
    parser.add_argument("--no-figures", action="store_true", help="write only tables")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> None:
    for folder in options.folders:
        require_folder("report", folder, "folder")
    from tl_lab.results.report.writing import write_report

    target = options.output
    if target is None and len(options.folders) > 1:
        outputs = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
        target = outputs / "reports" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    summary = write_report(options.folders, target, options.baseline, figure=not options.no_figures)
    print(summary)
    print(summary.with_name("report.html"))
