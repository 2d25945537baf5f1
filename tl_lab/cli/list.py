"""``list``: the choices of each group, or of one."""

import argparse
import sys
from collections.abc import Sequence

from tl_lab.config import choices, describe

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("list", help="show the choices of each group, or of one")
    parser.add_argument("group", nargs="?", help="backbone, strategy, data, ...")
    parser.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> None:
    groups = choices(options.group)
    rows = [(group, name, describe(file)) for group, files in groups.items() for name, file in files.items()]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        for row in rows:
            print("\t".join(row))


def _print_table(rows: Sequence[tuple[str, str, str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    table.add_column("group", style="cyan", no_wrap=True)
    table.add_column("choice", style="bold", no_wrap=True)
    table.add_column("what it is")
    before = ""
    for number, (group, name, text) in enumerate(rows):
        ends = number + 1 == len(rows) or rows[number + 1][0] != group
        table.add_row("" if group == before else group, name, text, end_section=ends)
        before = group
    Console().print(table)
