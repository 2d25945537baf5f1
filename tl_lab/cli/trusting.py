"""The option ``--allow`` of every command that reads a saved configuration: further names that it may use."""

import argparse

__all__ = ["add_allow"]


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow NAME``, which may be repeated."""
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME",
        help="a class or function that the saved configuration may also use; may be repeated",
    )  # fmt: skip
