"""``python -m tl_lab weights``: list pretrained weights, whether they are installed, and how to get them."""

import argparse
import sys

from tl_lab.cli.terminal import print_columns

__all__ = ["add"]

_TITLES = ("weights", "state", "licence", "used by", "how to get them")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "weights", help="list pretrained weights: which are installed, and how to get the others"
    )
    parser.set_defaults(command=_weights)


def _weights(options: argparse.Namespace) -> None:
    from tl_lab.backbones.packaged import PACKAGED

    rows = []
    for name, one in PACKAGED.items():
        state = one.state()
        rows.append((name, state, one.licence, one.used_by or "-", "-" if state == "here" else one.how_to_get()))
    if not sys.stdout.isatty():
        print_columns(_TITLES, rows)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for title in _TITLES:
        table.add_column(title, overflow="fold")
    for name, state, *rest in rows:
        table.add_row(Text(name, "bold"), Text(state, "green" if state == "here" else "red"), *map(Text, rest))
    console = Console()
    console.print(table)
    console.print("  In a clone, uv sync installs all of the packages.", style="dim")
