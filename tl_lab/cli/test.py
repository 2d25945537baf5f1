"""``test``: score a finished run on another labelled folder."""

import argparse
from pathlib import Path

from tl_lab.cli.paths import require, require_folder
from tl_lab.cli.trusting import add_allow
from tl_lab.importing import import_heavy

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("test", help="score a finished run on another labelled folder or table")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument(
        "inputs", type=Path, help="a folder with a sub-folder for each class, or a table with the labels"
    )
    parser.add_argument("--output", type=Path, help="the JSON file; default: <run>/tests/<name of the inputs>.json")
    parser.add_argument("--skip-unreadable", action="store_true", help="skip unreadable files instead of stopping")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="checkpoint to use; default: the tested one")
    parser.add_argument("--task", type=int, help="for a stream with one head per task: the task's number, from 1")
    parser.add_argument(
        "--device", choices=["cpu", "gpu", "auto"], default="cpu",
        help="where to predict; auto: a GPU if there is one; default: cpu",
    )  # fmt: skip
    add_allow(parser)
    parser.set_defaults(command=_test)


def _test(options: argparse.Namespace) -> None:
    require_folder("test", options.run)
    require("test", options.inputs)
    found = import_heavy("tl_lab.run.scoring").score(
        options.run,
        options.inputs,
        options.output,
        checkpoint=options.checkpoint,
        task=options.task,
        skip_unreadable=options.skip_unreadable,
        allow=options.allow,
        device=options.device,
    )
    from tl_lab.results.screen import console

    absent = [f"no sample of: {', '.join(found['absent'])}"] if found["absent"] else []
    console.final_table(
        found["metrics"],
        tested_checkpoint=found["checkpoint"],
        protocol=[
            f"{found['count']:,} samples of {found['inputs']}; they may include training samples",
            *absent,
        ],
    )
    print(found["file"])
