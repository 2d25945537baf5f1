"""``assess``: whether to transfer, from which source, how, and whether the result can be trusted."""

import argparse
from pathlib import Path

from tl_lab.importing import import_heavy

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "assess", help="assess whether to transfer, from what and how, and whether to trust the result"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="as for a run: data=..., backbone=... or backbone=[a,b]; assess=quick|full|<part> (default: quick)",
    )
    parser.add_argument("--output", type=Path, help="folder to write to; default: a new one below the outputs")
    parser.set_defaults(command=_assess)


def _assess(options: argparse.Namespace) -> None:
    assessed, folder = import_heavy("tl_lab.assess.running").carry_out(options.overrides, options.output)
    from tl_lab.assess.writing import show

    show(assessed)
    print(f"\n{folder / 'assessment.html'}\n{folder / 'assessment.json'}")
