"""``python -m tl_lab papers``: list the experiments of papers, run one, or store its runs."""

import argparse
import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tl_lab.cli.terminal import print_columns
from tl_lab.errors import UserError
from tl_lab.texts import counted

if TYPE_CHECKING:
    from tl_lab.results.tables.papers import Paper

__all__ = ["add"]

_TITLES = ("experiment", "status", "within tolerance", "to decide", "run on", "what it is")
_AT_ONCE = 5
"""Number of seeds that ``--until decided`` adds at a time, because an estimate from few seeds may be far too large."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    words = "list the experiments of papers with verdicts; run or store one"
    parser = commands.add_parser(
        "papers", help=words, description="Without run or store, list all experiments with published numbers."
    )
    parser.set_defaults(command=_list)
    actions = parser.add_subparsers(metavar="run | store")

    run = actions.add_parser("run", help="run an experiment, compare it with its paper, and store its runs")
    run.add_argument("experiment", help="name of the experiment, for example dann/amazon_reviews")
    run.add_argument(
        "--until", choices=["decided"], help="add seeds, a few at a time, until every verdict is yes or no"
    )
    run.add_argument("--most", type=int, default=30, help="largest number of seeds of --until; default: 30")
    run.add_argument(
        "overrides", nargs="*", help="changes to the experiment; its runs are then compared but not stored"
    )
    run.set_defaults(command=_run)

    store = actions.add_parser("store", help="store the runs of sweeps that were started manually")
    store.add_argument("experiment", help="name of the experiment")
    store.add_argument("folders", nargs="+", metavar="folder", help="folders of its sweeps")
    store.add_argument("--add", action="store_true", help="keep the stored runs and add these (further seeds or tasks)")
    store.set_defaults(command=_store)


def _list(options: argparse.Namespace) -> None:
    from tl_lab.results.tables.papers import Paper, papers

    def cheapest_first(paper: Paper) -> tuple[bool, float]:
        hours = paper.hours_to_decide if paper.open else None
        return hours is None, hours or 0.0

    rows = [
        (paper.name, paper.status, paper.reached, _to_decide(paper), paper.date, paper.what + _deviation(paper))
        for paper in sorted(papers(), key=cheapest_first)
    ]
    if not sys.stdout.isatty():
        print_columns(_TITLES, rows)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    colours = {"reproduced": "green", "as expected": "green", "not reproduced": "red", "not as expected": "red"}
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in _TITLES:
        table.add_column(name)
    for name, status, *rest in rows:
        table.add_row(Text(name, "bold"), Text(status, colours.get(status, "")), *map(Text, rest))
    Console().print(table)


def _deviation(paper: "Paper") -> str:
    """Describe how an experiment deviates from the published protocol; empty if it does not."""
    return f" (deviation: {paper.expected.deviation})" if paper.expected.deviation else ""


def _to_decide(paper: "Paper") -> str:
    """Describe the seeds that the undecided methods or claims of an experiment still need: ``4 more seeds, 1.2 h``."""
    if not paper.open:
        return ""
    others = {claim.claim.over for claim in paper.claims if claim.word == "undecided"} - {"seed"}
    if not paper.asked and others:
        return f"more values of {', '.join(sorted(others))}"
    if not paper.more_seeds:
        return "more than a thousand seeds"
    return f"{counted(paper.more_seeds, 'more seed')}, {paper.hours_to_decide:.1f} h"


def _run(options: argparse.Namespace) -> int:
    from tl_lab.results.tables.papers import expected_by, paper_of

    name, changed = options.experiment, list(options.overrides)
    expected_by(name)
    if options.until and changed:
        raise UserError("--until decided adds seeds to an unchanged experiment: leave the overrides out")
    if changed:
        failed = _train(name, changed, _outputs(name) / "changed")
        if not failed:
            print("not stored, because the overrides change the experiment; its runs are compared above")
        return int(failed)
    paper = paper_of(name) if options.until else None
    if paper is None or paper.runs is None:
        paper = _kept(name, [], _outputs(name))
    else:
        _say(paper)
    return _until_decided(paper, options.most) if options.until else int(paper.status.startswith("not "))


def _until_decided(paper: "Paper", most: int) -> int:
    """Add seeds until every verdict is decided; the same command resumes an interrupted experiment."""
    while paper.open:
        first, more = paper.next_seed, min(paper.more_seeds or _AT_ONCE, _AT_ONCE)
        seeds = range(first, min(first + more, most))
        if not seeds:
            print(f"{paper.name}: still undecided; {_to_decide(paper)} would decide it, but --most is {most}")
            return 1
        words = ",".join(map(str, seeds))
        paper = _kept(
            paper.name, [f"seed={words}"], _outputs(paper.name) / f"seeds_{words.replace(',', '_')}", add=True
        )
    return int(paper.status.startswith("not "))


def _kept(name: str, overrides: list[str], folder: Path, add: bool = False) -> "Paper":
    """Run an experiment, print its comparison, and store its runs, in addition to earlier ones if requested."""
    from tl_lab.results.tables.papers import keep, paper_of, stored
    from tl_lab.sweeps.folder import runs_of

    if _train(name, overrides, folder):
        if not any(runs_of(folder)):
            sys.exit(1)  # refused before the first run; the reason is printed
        with_seeds = any(folder.glob("seeds_*")) and not add  # runs of --until, which are not part of this sweep
        command = "--until decided completes its further seeds" if with_seeds else "the same command resumes it"
        raise UserError(f"experiment={name} has not completed; {command}")
    table = stored(name, [folder], shlex.join(["python", "train.py", f"experiment={name}", *overrides]))
    paper = paper_of(name)
    assert paper is not None
    if not add:  # compared before storing, because the runs may turn out not to be storable
        _say(dataclasses.replace(paper, runs=table))
    print(f"stored in {keep(name, table, add)}; docs/tables.py writes the pages")
    paper = paper_of(name)
    assert paper is not None
    if add:
        _say(paper)
    return paper


def _train(name: str, overrides: list[str], folder: Path) -> bool:
    """Run an experiment and return whether it failed; the same call resumes it."""
    given = ["-m", f"experiment={name}", *overrides, f"hydra.sweep.dir={folder}", "sweep.resume=true"]
    return subprocess.run([sys.executable, "-m", "tl_lab", "train", *given], check=False).returncode != 0


def _outputs(name: str) -> Path:
    return Path(os.environ.get("TL_LAB_OUTPUTS", "outputs")) / "papers" / name


def _say(paper: "Paper") -> None:
    held = " hold" if paper.reached.endswith("claims") else " methods within the tolerance"
    within = f", {paper.reached}{held}" if paper.reached else ""
    what = "it" if paper.status == "undecided" else "the others"
    missing = f"; {_to_decide(paper)} would decide {what}" if paper.open else ""
    print(f"{paper.name}: {paper.status}{within}{missing}{_deviation(paper)}")
    for claim in paper.claims:
        print("  " + "; ".join(claim.row(paper.expected.metric)))


def _store(options: argparse.Namespace) -> None:
    from tl_lab.results.tables.papers import keep, stored

    table = stored(options.experiment, options.folders)
    print(f"{counted(len(table), 'run')} stored in {keep(options.experiment, table, options.add)}")
