"""The option of every command that reads a saved configuration: what it may name beside the project's own."""

import argparse

__all__ = ["add_allow"]


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow NAME``, which may be repeated."""
    parser.add_argument(
        "--allow", action="append", default=[], metavar="NAME",
        help="a class or function that the saved configuration may name beside the project's own; may be repeated",
    )  # fmt: skip
