"""``python -m tl_lab`` and ``tl-lab``: all commands except runs, one file each."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from tl_lab import __version__
from tl_lab.cli import (
    assess,
    card,
    completion,
    drift,
    export,
    figures,
    list,
    overview,
    papers,
    predict,
    report,
    reproduce,
    test,
    weights,
)
from tl_lab.cli.terminal import ends_with_its_reader, prepare_terminal
from tl_lab.commands import command
from tl_lab.config.catalogue import using
from tl_lab.errors import UserError, nearest

__all__ = ["main"]

_INNER_CONFIG_DIR = "inner_config_dir"  # --config-dir after the name of an action: papers run ... --config-dir
_COMMANDS = (list, assess, predict, test, drift, card, report, figures, papers, reproduce, export, weights)


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends the process with a one-line message and exit code 1.

    Args:
        argv: arguments; ``None`` for those of the process.
    """
    given = [*(sys.argv[1:] if argv is None else argv)]
    if given[:1] == ["train"]:
        from tl_lab.cli.train import main as train

        train(given[1:])
        return
    parser, helps = _parser()
    if not given or given[0] in ("-h", "--help"):
        with ends_with_its_reader():
            overview.show(helps)
        return
    if completion.asked(given):
        completion.complete(given, [*helps])
        return
    try:
        prepare_terminal(given)
        if given[0] not in (*helps, "--version"):
            kind, known = ("option", ["--version", "--help"]) if given[0].startswith("-") else ("command", [*helps])
            raise UserError(f"there is no {kind} {given[0]!r}; {nearest(given[0], known)}")
        options = _parsed(parser, given)
        with using([*options.config_dir, *getattr(options, _INNER_CONFIG_DIR, [])]), ends_with_its_reader():
            code = options.command(options)
    except UserError as error:
        print(f"tl_lab: {error}", file=sys.stderr)
        sys.exit(1)
    if code:
        sys.exit(code)


class _Parser(argparse.ArgumentParser):
    """A parser that reports mistakes as the rest of the program does, in one sentence.

    Options may stand between positional arguments: ``assess data=digits --output x backbone=mlp``.
    """

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; those of a command without actions may be in any order."""
        if self._within or _actions_of(self):
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: always.
        """
        words = self.prog.split()[1:]
        raise UserError(f"{' '.join(words)}: {message} ({command(*words, '--help')})")


def _parsed(parser: argparse.ArgumentParser, given: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a command.

    Raises:
        UserError: one is unknown, missing or invalid.
    """
    options, unknown = parser.parse_known_args(given)
    if not unknown:
        return options
    name = unknown[0].partition("=")[0]
    if not name.startswith("-"):
        raise UserError(f"{given[0]}: unexpected argument {name!r} ({command(given[0], '--help')})")
    chosen = _actions_of(parser)[given[0]]
    inner = next((action for word, action in _actions_of(chosen).items() if word in given[1:]), chosen)
    known = [one for one in inner._option_string_actions if one.startswith("--")]
    raise UserError(f"{inner.prog.partition(' ')[2]}: there is no option {name!r}; {nearest(name, known)}")


def _actions_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a program's commands, or of a command's actions, by name."""
    found = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(next(found, {}))


def _parsers_of_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for inner in _actions_of(parser).values():
        yield inner
        yield from _parsers_of_actions(inner)


def _add_config_dir(parser: argparse.ArgumentParser, dest: str) -> None:
    parser.add_argument(
        "--config-dir", "-cd", dest=dest, action="append", default=[], metavar="FOLDER",
        help="a folder of further choices, with its Python modules next to it; may be repeated",
    )  # fmt: skip


def _parser() -> tuple[argparse.ArgumentParser, dict[str, str]]:
    """Build the parser; also return the description of each command."""
    parser = _Parser(prog="tl_lab", description="Transfer-learning experiments.")
    parser.add_argument("--version", action="version", version=f"tl_lab {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    train = commands.add_parser("train", help="one run or several; the same as python train.py", add_help=False)
    train.set_defaults(command=lambda _: None)
    for module in _COMMANDS:
        module.add(commands)
    for name, parser_of_command in commands.choices.items():
        if name != "train":
            _add_config_dir(parser_of_command, "config_dir")
            for inner in _parsers_of_actions(parser_of_command):
                _add_config_dir(inner, _INNER_CONFIG_DIR)
    helps = {str(action.dest): str(action.help) for action in commands._choices_actions}
    return parser, helps
