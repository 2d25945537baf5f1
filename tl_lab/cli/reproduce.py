"""``reproduce``: run a saved configuration again and compare every metric."""

import argparse
from pathlib import Path

from tl_lab.cli.paths import require_folder
from tl_lab.cli.trusting import add_allow

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("reproduce", help="run a saved configuration again and compare every metric")
    parser.add_argument("run", type=Path, help="a completed run's folder")
    parser.add_argument("--output", type=Path, help="the new run's folder; default: outputs/reproduced/<name>/<time>")
    add_allow(parser)
    parser.set_defaults(command=_reproduce)


def _reproduce(options: argparse.Namespace) -> int:
    require_folder("reproduce", options.run)
    from tl_lab.run.reproducing import reproduce

    found = reproduce(options.run, options.output, options.allow)
    print(found.report())
    return 0 if found.equal else 1
