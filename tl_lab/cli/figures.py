"""``figures``: the figures of runs that have none, as those of sweeps, each drawn from the run's tested checkpoint."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from tl_lab.errors import UserError
from tl_lab.sweeps.folder import runs_of
from tl_lab.sweeps.jobs import OUTPUT, read_settled, redirect
from tl_lab.sweeps.processes import Child, wait_for_any

__all__ = ["add", "draw_missing"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("figures", help="draw the figures of finished runs that have none, as those of sweeps")
    parser.add_argument("folders", type=Path, nargs="+", metavar="folder", help="folders of sweeps or runs")
    parser.set_defaults(command=lambda options: int(bool(draw_missing(options.folders))))


def draw_missing(folders: Sequence[Path]) -> int:
    """Draw the figures of every completed run below some folders that has none, and say so, a line a run.

    Args:
        folders: of sweeps or runs.

    Returns:
        The number of runs whose figures could not be drawn.

    Raises:
        UserError: a folder does not exist or holds no completed run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"figures: there is no folder {str(folder)!r}")
    runs = [run for folder in folders for run in runs_of(folder) if read_settled(run).get("status") == "completed"]
    if not runs:
        raise UserError(f"figures: there is no completed run below {', '.join(map(str, folders))}")
    missing = [run for run in runs if not (run / "figures").exists()]
    print(f"{len(runs)} completed run{'s' if len(runs) != 1 else ''}, {len(missing)} without figures", flush=True)
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
    print(f"{run / 'figures'}" if drawn else f"{run}: failed, see {OUTPUT} there", flush=True)
    return drawn
