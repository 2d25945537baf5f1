"""``python -m tl_lab papers``: list the experiments of papers, run one, keep its runs."""

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tl_lab.errors import UserError

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of the program."""
    parser = commands.add_parser("papers", help="list the experiments of papers with what was reproduced; run, store")
    parser.set_defaults(command=_list)
    actions = parser.add_subparsers(metavar="run | store")

    run = actions.add_parser("run", help="run an experiment, compare it with its paper, and keep its runs")
    run.add_argument("experiment", help="its name, as dann/amazon_reviews")
    run.add_argument("overrides", nargs="*", help="a narrower or changed experiment: compared, but not kept")
    run.set_defaults(command=_run)

    store = actions.add_parser("store", help="keep the runs of sweeps that were started by hand")
    store.add_argument("experiment", help="its name")
    store.add_argument("folders", nargs="+", metavar="folder", help="of its sweeps")
    store.add_argument("--add", action="store_true", help="keep what is stored: these are further seeds or tasks")
    store.set_defaults(command=_store)


def _list(options: argparse.Namespace) -> None:
    from tl_lab.results.tables.papers import papers

    rows = [(paper.name, paper.status, paper.reached, paper.date, paper.what) for paper in papers()]
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"reproduced": "green", "not reproduced": "red"}
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("experiment", "status", "methods within tolerance", "run on", "what it is"):
        table.add_column(name)
    for name, status, *rest in rows:
        table.add_row(Text(name, "bold"), Text(status, colours.get(status, "")), *map(Text, rest))
    Console().print(table)


def _run(options: argparse.Namespace) -> int:
    from tl_lab.config import choices
    from tl_lab.results.tables.papers import Paper, asked, expected_by, keep, stored

    name, changed = options.experiment, list(options.overrides)
    expected = expected_by(name)
    outputs = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
    folder = outputs / "papers" / ("/".join([name, *(["changed"] if changed else [])]))
    given = [f"experiment={name}", *changed]
    # started again after an interruption it goes on with what is missing
    train = [sys.executable, "-m", "tl_lab", "train", *given, f"hydra.sweep.dir={folder}", "sweep.resume=true"]
    failed = subprocess.run(train, check=False).returncode != 0
    if changed:
        print("not kept: the overrides change the experiment, whose runs are compared above")
        return int(failed)
    if failed:
        raise UserError(f"experiment={name} has not completed; the same command goes on with what is missing")
    table = stored(name, [folder], shlex.join(["python", "train.py", *given]))
    paper = Paper(name, "", expected, table, asked(choices("experiment")["experiment"][name], expected))
    print(f"{name}: {paper.status}" + (f", {paper.reached} methods within the tolerance" if paper.reached else ""))
    print(f"kept in {keep(name, table)}; docs/tables.py writes the pages")
    return int(paper.status.startswith("not "))


def _store(options: argparse.Namespace) -> None:
    from tl_lab.results.tables.papers import keep, stored

    table = stored(options.experiment, options.folders)
    print(f"{len(table)} runs stored in {keep(options.experiment, table, options.add)}")
