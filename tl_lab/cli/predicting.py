"""The option of commands that write a model card: whether test samples are predicted again for its intervals."""

import argparse

__all__ = ["add_no_predictions"]


def add_no_predictions(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-predictions``."""
    parser.add_argument(
        "--no-predictions", action="store_false", dest="predicts",
        help="do not predict the test samples anew for the intervals of the card's scores; it then has those that an "
        "earlier card has kept in the run's folder (test_intervals.json), or none",
    )  # fmt: skip
