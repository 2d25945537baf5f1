"""``export``: write a run's network in the formats of other programs."""

import argparse
from pathlib import Path

from tl_lab.cli.paths import require_folder
from tl_lab.cli.predicting import add_no_predictions
from tl_lab.cli.trusting import add_allow
from tl_lab.importing import import_heavy

__all__ = ["add"]


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("export", help="write a run's network for other programs")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument(
        "--format",
        choices=["safetensors", "peft", "hf", "onnx"],
        help="safetensors (default): all weights, with the adapter merged; peft: the adapter alone; hf: a transformers "
        "folder; onnx: the network as a graph",
    )
    parser.add_argument("--output", type=Path, help="folder to write to; default: <run>/export/<format>")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="checkpoint to use; default: the tested one")
    add_no_predictions(parser)
    add_allow(parser)
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> None:
    require_folder("export", options.run)
    print(
        import_heavy("tl_lab.run.exporting").export(
            options.run,
            options.format,
            options.output,
            checkpoint=options.checkpoint,
            allow=options.allow,
            predicts=options.predicts,
        )
    )
