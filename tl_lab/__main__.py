"""What surrounds a run: ``python -m tl_lab list | train | predict | report | figures | papers | reproduce``."""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tl_lab import __version__
from tl_lab.errors import UserError
from tl_lab.papers_cli import add_papers

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; ends the process with exit code 1 and one sentence where the user is mistaken.

    Args:
        argv: arguments; ``None`` for those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["train"]:
        from tl_lab.cli import main as train

        train(given[1:])
        return
    options = _parser().parse_args(given)
    try:
        code = options.command(options)
    except UserError as error:
        print(f"tl_lab: {error}", file=sys.stderr)
        sys.exit(1)
    if code:
        sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tl_lab", description="A laboratory for transfer learning.")
    parser.add_argument("--version", action="version", version=f"tl_lab {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")

    train = commands.add_parser("train", help="the same as python train.py", add_help=False)
    train.set_defaults(command=lambda _: None)

    listing = commands.add_parser("list", help="show the choices of each group, or of one")
    listing.add_argument("group", nargs="?", help="backbone, strategy, data, ...")
    listing.set_defaults(command=_list)

    predict = commands.add_parser("predict", help="write labels and confidences of new samples to a CSV file")
    predict.add_argument("run", type=Path, help="a run's folder")
    predict.add_argument("inputs", type=Path, help="a folder of images, or a CSV file that names them")
    predict.add_argument(
        "--output", type=Path, help="the CSV file; default: <run>/predictions/<name of the inputs>.csv"
    )
    predict.add_argument("--skip-unreadable", action="store_true", help="leave broken images out instead of stopping")
    predict.add_argument("--checkpoint", choices=["best", "last"], help="default: the one that was tested")
    predict.add_argument("--task", type=int, help="of a stream whose tasks have heads of their own: which one, from 1")
    _add_allow(predict)
    predict.set_defaults(command=_predict)

    report = commands.add_parser("report", help="write tables, figures and the page of a sweep, or of several together")
    report.add_argument("folders", type=Path, nargs="+", metavar="folder", help="folders of sweeps or runs")
    report.add_argument("--output", type=Path, help="default: the folder; of several a new one, outputs/reports/<time>")
    report.add_argument(
        "--baseline", default="domain_adaptation=none", help="the override that the others are compared with"
    )
    report.add_argument("--no-figures", action="store_true", help="tables only")
    report.set_defaults(command=_report)

    figures = commands.add_parser(
        "figures", help="draw the figures of finished runs that have none, as those of sweeps"
    )
    figures.add_argument("folders", type=Path, nargs="+", metavar="folder", help="folders of sweeps or runs")
    figures.set_defaults(command=_figures)

    add_papers(commands)

    again = commands.add_parser("reproduce", help="run a saved configuration again and compare every metric")
    again.add_argument("run", type=Path, help="a completed run's folder")
    again.add_argument("--output", type=Path, help="the new run's folder; default: outputs/reproduced/<name>/<time>")
    _add_allow(again)
    again.set_defaults(command=_reproduce)
    return parser


def _add_allow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME",
        help="a class or function that the saved configuration may name beside the project's own; may be repeated",
    )  # fmt: skip


def _list(options: argparse.Namespace) -> None:
    from tl_lab.config import choices, describe

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


def _predict(options: argparse.Namespace) -> None:
    if not options.run.is_dir():
        raise UserError(f"predict: there is no run's folder {str(options.run)!r}")
    if not options.inputs.exists():
        raise UserError(f"predict: there is no folder or CSV file {str(options.inputs)!r}")
    from tl_lab.inference import predict_to_csv

    print(
        predict_to_csv(
            options.run,
            options.inputs,
            options.output,
            checkpoint=options.checkpoint,
            skip_unreadable=options.skip_unreadable,
            task=options.task,
            allow=options.allow,
        )
    )


def _report(options: argparse.Namespace) -> None:
    for folder in options.folders:
        if not folder.is_dir():
            raise UserError(f"report: there is no folder {str(folder)!r}")
    from tl_lab.results.report import write_report

    target = options.output
    if target is None and len(options.folders) > 1:
        outputs = Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
        target = outputs / "reports" / f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    summary = write_report(options.folders, target, options.baseline, figure=not options.no_figures)
    print(summary)
    print(summary.with_name("report.html"))


def _reproduce(options: argparse.Namespace) -> int:
    from tl_lab.reproducing import reproduce

    found = reproduce(options.run, options.output, options.allow)
    print(found.said())
    return 0 if found.equal else 1


def _figures(options: argparse.Namespace) -> None:
    from tl_lab.sweeps.drawing import draw_missing

    if draw_missing(options.folders):
        sys.exit(1)


if __name__ == "__main__":
    main()
