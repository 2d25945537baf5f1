"""``card``: a run's model card, as Markdown and as a page."""

import argparse
from pathlib import Path

from tl_lab.cli.paths import require_folder
from tl_lab.cli.predicting import add_no_predictions
from tl_lab.cli.trusting import add_allow

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("card", help="write a run's model card: use, data, metrics, groups, energy, licences")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument(
        "--assessment", type=Path, help="an assessment.json; default: the newest one with init_from=<run>"
    )
    parser.add_argument("--output", type=Path, help="folder to write to; default: the run's own")
    add_no_predictions(parser)
    add_allow(parser)
    parser.set_defaults(command=_card)


def _card(options: argparse.Namespace) -> None:
    require_folder("card", options.run)
    from tl_lab.assess.card import card, write_card
    from tl_lab.assess.writing import screen_table
    from tl_lab.results.report.blocks import Table
    from tl_lab.results.screen.console import say

    sections, tiles = card(options.run, options.assessment, predicts=options.predicts, allow=options.allow)
    paths = write_card(options.run, options.output, options.assessment, (sections, tiles))
    metrics = next(part for section in sections if section.title == "Metrics" for part in section.parts)
    assert isinstance(metrics, Table)
    say(sections[0].title, *screen_table(metrics))
    for path in paths:
        print(path)
