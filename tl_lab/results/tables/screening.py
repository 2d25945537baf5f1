"""Screening metrics of findings, laid out for the screen, the report and the card. Nothing here imports torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from tl_lab.results.names import format_metric

__all__ = ["ON_SCREENING", "SCREENED", "screened"]

SCREENED = ("finding", "positive", "AUROC %", "95 % interval", "sensitivity %", "specificity %", "ECE %")
"""Columns."""
ON_SCREENING = (
    "Interval by DeLong. The threshold of each finding is the lowest with a specificity of at least 90 % on the "
    "validation set; sensitivity and specificity are those of this threshold on the test set, where the specificity "
    "may differ from 90 %. ECE is the expected calibration error."
)
"""What stands below the table."""
_SHARES = ("auroc", "low", "high", "sensitivity", "specificity", "calibration_error")


def screened(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Format the metrics of each finding and test set, a cell for each column of :data:`SCREENED`.

    Args:
        rows: see :func:`tl_lab.training.screening.screening_rows`.
    """
    several = len({row["set"] for row in rows}) > 1
    found = []
    for row in rows:
        title = f"{row['finding']} ({row['set']})" if several else str(row["finding"])
        shares = {name: format_metric("acc", row[name]) for name in _SHARES}
        cells = [title, f"{row['positive']:,} of {row['samples']:,}", shares["auroc"]]
        cells += [f"{shares['low']} to {shares['high']}"]
        found.append(cells + [shares[name] for name in ("sensitivity", "specificity", "calibration_error")])
    return found
