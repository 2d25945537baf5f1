"""``list``: show all groups, the choices of one group, or one choice with its options."""

import argparse
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, NamedTuple

from tl_lab import commands
from tl_lab.cli.of_hydra import choices_of_hydra
from tl_lab.cli.terminal import print_columns
from tl_lab.config import choices, describe
from tl_lab.config.class_attributes import class_attribute
from tl_lab.config.nodes import read_node
from tl_lab.errors import UserError, nearest

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tl_lab.config.knobs import Knob

__all__ = ["add"]

_NAMES = 58  # width of the column with the first names of a group
_WIDTH = 96  # width of a line in a group's list
_LINES = 40  # largest number of lines of a group's list; a longer list shows names only
_USE_WITH = "# Use with: "  # in the header of a choice: others that it needs
_OF_HYDRA = "from Hydra or a plugin"
_OF_PACKAGE = {
    "": "for a data set or a domain pair",
    "continual": "for streams of tasks",
    "few_shot": "for episodes",
}
_SCENARIOS = {  # by the trait that defines each scenario; if data have several traits, the last one counts
    "": "",
    "domains": "several domains",
    "target": "domain pairs",
    "several tasks": "several tasks at once",
    "tasks": "streams of tasks",
    "episodes": "episodes",
}
_MODALITIES = {
    "image": "images",
    "text": "texts",
    "passage": "passages with questions",
    "table": "tables",
    "audio": "recordings",
    "vector": "vectors",
    "tokens_with_boxes": "documents",
}


class _Kind(NamedTuple):
    """A section of a group's list; sections are sorted by their two numbers."""

    first: int
    second: int
    title: str


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser("list", help="show all groups, the choices of one, or one choice with its options")
    parser.add_argument("group", nargs="?", help="backbone, strategy, data, ...")
    parser.add_argument("choice", nargs="?", help="a choice of the group: show its options")
    parser.add_argument("--long", action="store_true", help="one line per choice with its description")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="for other programs: a header, then one line per choice, columns separated by tabs",
    )
    parser.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> None:
    groups = choices(options.group)
    others = choices_of_hydra(groups)
    if options.choice is not None:
        _show_choice(options.group, options.choice, groups[options.group], others.get(options.group, ()))
    elif options.plain:
        described = {group: {name: describe(file) for name, file in files.items()} for group, files in groups.items()}
        for group, names in others.items():
            described[group] |= dict.fromkeys(names, _OF_HYDRA)
        rows = ((group, name, text) for group, texts in described.items() for name, text in texts.items())
        print_columns(("group", "choice", "what it is"), rows)
    elif options.group is not None:
        _show_group(options.group, groups[options.group], others.get(options.group, ()), options.long)
    else:
        _show_all({group: [*files, *others.get(group, ())] for group, files in groups.items()})


def _show_all(groups: Mapping[str, Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from tl_lab.config.knobs import group_comments
    from tl_lab.results.screen.console import say

    comments = group_comments()
    order = [*(name for name in comments if name in groups), *(name for name in groups if name not in comments)]
    table = Table.grid(padding=(0, 2))
    for style in ("cyan", "dim"):
        table.add_column(style=style, no_wrap=True)
    table.add_column(no_wrap=True)
    for name in order:
        table.add_row(f"  {name}", str(len(groups[name])), _few(groups[name]))
    say(
        Text.assemble(("Choices", "bold"), ("   group=choice on the command line of a run", "dim")),
        table,
        Text(),
        Text("  one group            ", end="").append(commands.command("list", "data"), "cyan"),
        Text("  one choice, options  ", end="").append(commands.command("list", "strategy", "ewc"), "cyan"),
        Text("  for other programs   ", end="").append(commands.command("list", "--plain"), "cyan"),
    )


def _few(names: Sequence[str]) -> str:
    """List the first choices of a group and the number of the others."""
    shown: list[str] = []
    for name in names:
        if len(", ".join([*shown, name])) > _NAMES:
            break
        shown.append(name)
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _show_group(group: str, files: Mapping[str, Path], others: Sequence[str], long: bool) -> None:
    from rich.text import Text

    from tl_lab.config.knobs import group_comments
    from tl_lab.results.screen.console import say

    names_of: dict[_Kind, list[str]] = {}
    for name, file in files.items():
        names_of.setdefault(_kind(group, name, file), []).append(name)
    kinds = {kind.title: names_of[kind] for kind in sorted(names_of)}
    first = next(iter(files))
    comment = group_comments().get(group, "")
    in_a_run = _in_a_run(group, first, files[first])
    header: list[RenderableType] = [
        Text.assemble((group, "bold"), (f"   {comment}" if comment else "", "dim")),
        Text("  in a run             ", end="").append(in_a_run, "cyan"),
        Text("  one choice, options  ", end="").append(commands.command("list", group, first), "cyan"),
        Text("  full descriptions    ", end="").append(commands.command("list", group, "--plain"), "cyan"),
    ]
    lines = len(header) + len(files) + 2 * len(kinds)
    if long or lines <= _LINES:
        more = [Text(), Text.assemble(f"  {_OF_HYDRA}: ", (", ".join(others), "cyan"))] if others else []
        say(*header, *_described(files, kinds), *more)
        return
    short = Text("  one line per choice  ", end="").append(commands.command("list", group, "--long"), "cyan")
    say(*header, short, Text(), _named(kinds))


def _described(files: Mapping[str, Path], kinds: Mapping[str, list[str]]) -> "list[RenderableType]":
    """Lay out one line per choice, with its description."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    width = max(map(len, files))
    parts: list[RenderableType] = []
    for kind, names in kinds.items():
        table = Table.grid(padding=(0, 2))
        table.add_column(style="cyan", no_wrap=True, min_width=width)
        table.add_column(no_wrap=True)
        for name in names:
            table.add_row(name, Text(shorten(describe(files[name]), _WIDTH - width, placeholder=" ...")))
        parts += [Text(), *([Text(kind, "bold")] if kind else []), Padding(table, (0, 0, 0, 2))]
    return parts


def _named(kinds: Mapping[str, list[str]]) -> "RenderableType":
    """Lay out one paragraph of names per kind."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="cyan")
    for kind, names in kinds.items():
        table.add_row(f"  {kind}", ", ".join(names))
    return table


def _kind(group: str, name: str, file: Path) -> _Kind:
    """Return the section of a choice, which depends on its class for data and strategies, otherwise on its folder."""
    if group not in ("data", "strategy"):
        return _Kind(0, 0, name.rpartition("/")[0])
    target = str(read_node(file).get("_target_"))
    if group == "strategy":
        package = next((one for one in _OF_PACKAGE if one and f".{one}." in target), "")
        return _Kind(list(_OF_PACKAGE).index(package), 0, _OF_PACKAGE[package])
    traits = class_attribute(target, "traits", frozenset())
    modality = class_attribute(target, "modality", "")
    trait = next((one for one in reversed(_SCENARIOS) if one in traits), "")
    scenario, inputs = _SCENARIOS[trait], _MODALITIES.get(modality, modality.replace("_", " ") or "other inputs")
    first, second = list(_SCENARIOS).index(trait), [*_MODALITIES, modality].index(modality)
    if trait not in ("", "target"):
        return _Kind(first, 0, scenario)  # only the configuration determines the kind of inputs
    return _Kind(first, second, " of ".join(filter(None, [scenario, inputs])))


def _example(description: str, options: Sequence["Knob"]) -> list[str]:
    """Give the options that must be set, or else the first option that has a default.

    An option must be set if its default is null and its comment does not explain what null means. The values are those
    in the choice's description, if it has some.
    """
    described = dict(re.findall(r"(\w+\.\w+)=([^\s,)]+)", description))
    required = [option.key for option in options if option.value == "null" and "null" not in option.comment]
    required += [key for key in described if any(option.key == key and option.value == "null" for option in options)]
    if required:
        values = {key: described.get(key, "...") for key in dict.fromkeys(required)}
        names = {key: f"<{key.rpartition('.')[2]}>" for key in values}
        return [f"{key}={names[key] if value == '...' else value}" for key, value in values.items()]
    first = (f"{one.key}={one.value}" for one in options if one.value not in ("", "null") and "$" not in one.value)
    return [*itertools.islice(first, 1)]


def _in_a_run(group: str, choice: str, file: Path, options: Sequence[str] = ()) -> str:
    """Return a command that uses a choice, with the other choices that its header names (``# Use with: ...``)."""
    others = next((line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith(_USE_WITH)), "")
    words = [f"{group}={choice}", *others.removeprefix(_USE_WITH).split(), *options]
    if group == "search":  # the space of one method, named after its group and choice
        words = ["-m", "hydra/sweeper=optuna", "=".join(choice.split("/")), *words]
    return commands.command("assess", *words) if group == "assess" else commands.train(*words)


def _show_choice(group: str, choice: str, files: Mapping[str, Path], others: Sequence[str]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from tl_lab.assess.licences import terms_of
    from tl_lab.config.knobs import knobs
    from tl_lab.results.screen.console import say

    if choice in others:
        shown = commands.train(f"{group}={choice}", "--cfg", "hydra", "-p", group.replace("/", "."))
        raise UserError(f"{group}={choice} comes {_OF_HYDRA}; this command prints its options: {shown}")
    if choice not in files:
        raise UserError(f"there is no choice {choice!r} of {group}; {nearest(choice, [*files, *others])}")
    found = [knob for knob in knobs(group, files[choice]) if knob.value or knob.comment]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold", ratio=1)
    for knob in found:
        table.add_row(knob.key, Text(knob.value), Text(knob.comment))
    terms = [f"{what}: {conditions}" for what, conditions in terms_of(choice).values()] if group == "data" else []
    example = _example(describe(files[choice]), found) if group not in ("experiment", "search") else []
    say(
        Text.assemble((f"{group}={choice}", "bold"), (f"   {describe(files[choice])}", "")),
        Text("  in a run  ", end="").append(_in_a_run(group, choice, files[choice], example), "cyan"),
        *(Text(f"  terms     {one}", style="dim") for one in terms),
        Text(f"  file      {_short(files[choice])}", style="dim"),
        Text(),
        Padding(table if found else Text("no options", "dim"), (0, 0, 0, 2)),
    )


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
