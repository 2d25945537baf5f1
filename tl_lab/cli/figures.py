"""``figures``: draw the figures of finished runs from their tested checkpoints, or compare several runs."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from tl_lab.cli.paths import require_folder
from tl_lab.cli.trusting import add_allow
from tl_lab.errors import UserError
from tl_lab.importing import import_heavy
from tl_lab.sweeps.folder import runs_of
from tl_lab.sweeps.jobs import OUTPUT, read_settled, redirect
from tl_lab.sweeps.processes import Child, wait_for_any
from tl_lab.texts import counted

__all__ = ["add", "draw_missing"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("figures", help="draw the missing figures of finished runs, for example of a sweep")
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder", help="folders of sweeps or runs")
    parser.add_argument(
        "--beside", action="store_true", help="draw the features of these runs on a domain pair side by side"
    )
    add_allow(parser)
    parser.set_defaults(command=_figures)


def _figures(options: argparse.Namespace) -> int:
    if not options.beside:
        return int(bool(draw_missing(options.folders)))
    if len(options.folders) < 2:
        raise UserError("figures --beside: give two or more runs, for example one without adaptation and one with it")
    print(import_heavy("tl_lab.run.beside").draw_beside(options.folders, options.allow))
    return 0


def draw_missing(folders: Sequence[Path]) -> int:
    """Draw the figures of all completed runs without figures below given folders, and print one line per run.

    Args:
        folders: folders of sweeps or runs.

    Returns:
        The number of runs whose figures could not be drawn.

    Raises:
        UserError: a folder does not exist, or there is no completed run.
    """
    for folder in folders:
        require_folder("figures", folder, "folder")
    runs = [run for folder in folders for run in runs_of(folder) if read_settled(run).get("status") == "completed"]
    if not runs:
        raise UserError(f"figures: there is no completed run below {', '.join(map(str, folders))}")
    missing = [run for run in runs if not (run / "figures").exists()]
    print(f"{counted(len(runs), 'completed run')}, {len(missing)} without figures", flush=True)
    if missing:
        importlib.import_module("tl_lab.run.experiment")
    return sum(not _draw(run) for run in missing)


def _draw(run: Path) -> bool:
    from tl_lab.cli.train import main

    def work() -> None:
        redirect(run / OUTPUT)
        main([f"resume={run}"])

    child = Child(lambda tell: work())
    while not child.ended():
        wait_for_any([child], 1.0)
    child.close()
    drawn = (run / "figures").exists()
    print(f"{run / 'figures'}" if drawn else f"{run}: no figures, because {_reason(run)}", flush=True)
    return drawn


def _reason(run: Path) -> str:
    """Return the error message at the end of a run's output, or where to look for it."""
    last = (run / OUTPUT).read_text(errors="replace").strip().rpartition("\n")[2] if (run / OUTPUT).is_file() else ""
    return last.removeprefix("tl_lab: ") if last.startswith("tl_lab: ") else f"the run failed: see its {OUTPUT}"
