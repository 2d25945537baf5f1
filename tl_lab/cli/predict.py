"""``predict``: write labels and confidences of new samples to a CSV file."""

import argparse
from pathlib import Path

from tl_lab.cli.paths import require, require_folder
from tl_lab.cli.trusting import add_allow
from tl_lab.errors import UserError
from tl_lab.importing import import_heavy

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("predict", help="write labels and confidences of new samples to a CSV file")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="+",
        metavar="input",
        help="images, recordings, texts, recognised pages or folders of these, or a table of rows, texts, questions or "
        "files",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="the CSV file, replaced if it exists; default: <run>/predictions/<name of the input>.csv, with --support "
        "<name of the input>_by_support.csv",
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN",
        help="copy this column of the input table, such as an identifier, to the CSV file; may be repeated; '*' copies "
        "all",
    )
    parser.add_argument("--arrays", action="store_true", help="write logits and features to an additional .npz file")
    parser.add_argument("--skip-unreadable", action="store_true", help="skip unreadable files instead of stopping")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="checkpoint to use; default: the tested one")
    parser.add_argument("--task", type=int, help="for a stream with one head per task: the task's number, from 1")
    parser.add_argument(
        "--support",
        type=Path,
        help="classify by your own examples: a folder of class folders, or a table with the column label and those of "
        "the inputs, such as path",
    )
    parser.add_argument(
        "--reject-below",
        type=float,
        default=0.0,
        metavar="P",
        help="with --support: give no label below this confidence; default: 0.0",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "gpu", "auto"],
        default="cpu",
        help="where to predict; auto: a GPU if there is one; default: cpu",
    )
    add_allow(parser)
    parser.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> None:
    require_folder("predict", options.run)
    if options.reject_below and options.support is None:
        raise UserError("predict: --reject-below requires --support")
    for path in [*options.inputs, *([options.support] if options.support else [])]:
        require("predict", path)
    print(
        import_heavy("tl_lab.run.inference").predict_to_csv(
            options.run,
            options.inputs,
            options.output,
            checkpoint=options.checkpoint,
            skip_unreadable=options.skip_unreadable,
            task=options.task,
            allow=options.allow,
            arrays=options.arrays,
            support=options.support,
            reject_below=options.reject_below,
            device=options.device,
            keep=options.keep,
        )
    )
