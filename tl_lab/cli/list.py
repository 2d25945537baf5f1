"""``list``: all groups, the choices of one group, or one choice with its options."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten

from tl_lab import commands
from tl_lab.config import choices, describe
from tl_lab.config.nodes import read_node
from tl_lab.errors import UserError, nearest

__all__ = ["add"]

_NAMES = 58  # width of the column with the first names of a group
_WIDTH = 96  # of a line of a group's list
_INCLUDED = re.compile(r"^  - (\w+)$", re.MULTILINE)
_OTHERS, _ORDINARY = "others", "for a data set or a domain pair"
_OF_PACKAGE = {"continual": "for streams of tasks", "few_shot": "for episodes"}
_OF_BASE = {  # shared files of conf/data
    "_set": "images",
    "_image_table": "images",
    "_texts": "texts",
    "_passages": "texts",
    "_tables": "tables",
    "_audio": "recordings",
    "_pair": "domain pairs",
    "_stream": "streams of tasks",
    "_episodes": "episodes",
}


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("list", help="show all groups, the choices of one, or one choice with its options")
    parser.add_argument("group", nargs="?", help="backbone, strategy, data, ...")
    parser.add_argument("choice", nargs="?", help="a choice of the group: show its options")
    parser.add_argument("--plain", action="store_true", help="one line per choice, columns separated by tabs")
    parser.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> None:
    groups = choices(options.group)
    if options.choice is not None:
        _show_choice(options.group, options.choice, groups[options.group])
    elif options.plain:
        for group, files in groups.items():
            for name, file in files.items():
                print("\t".join([group, name, describe(file)]))
    elif options.group is not None:
        _show_group(options.group, groups[options.group])
    else:
        _show_all(groups)


def _show_all(groups: Mapping[str, Mapping[str, Path]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tl_lab.config.knobs import groups_said
    from tl_lab.results.screen.console import say

    said = groups_said()
    order = [*(name for name in said if name in groups), *(name for name in groups if name not in said)]
    table = Table.grid(padding=(0, 2))
    for style in ("cyan", "dim"):
        table.add_column(style=style, no_wrap=True)
    table.add_column(no_wrap=True)
    for name in order:
        table.add_row(f"  {name}", str(len(groups[name])), _few(list(groups[name])))
    say(
        Text.assemble(("Choices", "bold"), ("   group=choice on the command line of a run", "dim")),
        table,
        Text(),
        Text("  one group            ", end="").append(commands.command("list", "data"), "cyan"),
        Text("  one choice, options  ", end="").append(commands.command("list", "strategy", "ewc"), "cyan"),
        Text("  for other programs   ", end="").append(commands.command("list", "--plain"), "cyan"),
    )


def _few(names: list[str]) -> str:
    """List the first choices of a group, and the number of others."""
    shown: list[str] = []
    for name in names:
        if len(", ".join([*shown, name])) > _NAMES:
            break
        shown.append(name)
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _show_group(group: str, files: Mapping[str, Path]) -> None:
    from rich.console import RenderableType
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from tl_lab.config.knobs import groups_said
    from tl_lab.results.screen.console import say

    kinds: dict[str, list[str]] = {}
    for name, file in files.items():
        kinds.setdefault(_kind(group, file), []).append(name)
    width = max(map(len, files))
    first = next(iter(files))
    said = groups_said().get(group, "")
    parts: list[RenderableType] = [
        Text.assemble((group, "bold"), (f"   {said}" if said else "", "dim")),
        Text("  in a run             ", end="").append(commands.train(f"{group}={first}"), "cyan"),
        Text("  options of one       ", end="").append(commands.command("list", group, first), "cyan"),
        Text("  whole descriptions   ", end="").append(commands.command("list", group, "--plain"), "cyan"),
    ]
    for kind in sorted(kinds, key=_order):
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True, min_width=width)
        table.add_column(no_wrap=True)
        for name in kinds[kind]:
            table.add_row(name, Text(shorten(describe(files[name]), _WIDTH - width, placeholder=" ...")))
        parts += [Text(), *([Text(kind, "bold")] if len(kinds) > 1 else []), Padding(table, (0, 0, 0, 2))]
    say(*parts)


def _kind(group: str, file: Path) -> str:
    """Name the part of a group's list that shows a choice, by its package or by the shared files that it includes."""
    if group == "strategy":
        target = str(read_node(file).get("_target_"))
        return next((kind for package, kind in _OF_PACKAGE.items() if f".{package}." in target), _ORDINARY)
    included = _INCLUDED.findall(file.read_text(encoding="utf-8")) if group == "data" else []
    others = (_kind(group, other) for name in included if (other := file.with_name(f"{name}.yaml")).is_file())
    found = [_OF_BASE[name] for name in included if name in _OF_BASE]
    return next((kind for kind in [*found, *others] if kind != _OTHERS), _OTHERS)


def _order(kind: str) -> int:
    return [_ORDINARY, *_OF_PACKAGE.values(), *_OF_BASE.values(), _OTHERS].index(kind)


def _show_choice(group: str, choice: str, files: Mapping[str, Path]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from tl_lab.config.knobs import knobs
    from tl_lab.results.screen.console import say

    if choice not in files:
        raise UserError(f"there is no choice {choice!r} of {group}; {nearest(choice, files)}")
    found = [knob for knob in knobs(group, files[choice]) if knob.value or knob.said]
    table = Table.grid(padding=(0, 2))
    for style in ("cyan", "bold"):
        table.add_column(style=style, overflow="fold")
    table.add_column(overflow="fold", ratio=1)
    for knob in found:
        table.add_row(knob.key, Text(knob.value), Text(knob.said))
    example = next((f"{one.key}={one.value}" for one in found if one.value and "$" not in one.value), "")
    words = [text for text in (f"{group}={choice}", example if group != "experiment" else "") if text]
    say(
        Text.assemble((f"{group}={choice}", "bold"), (f"   {describe(files[choice])}", "")),
        Text("  in a run  ", end="").append(commands.train(*words), "cyan"),
        Text(f"  file      {_short(files[choice])}", style="dim"),
        Text(),
        Padding(table if found else Text("no options", "dim"), (0, 0, 0, 2)),
    )


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
