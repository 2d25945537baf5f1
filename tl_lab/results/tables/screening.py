"""Tables of the screening metrics of findings, for the terminal, the report and the card; without torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from tl_lab.results.names import format_metric

__all__ = ["ON_SCREENING", "SCREENED", "screened"]

SCREENED = (
    "finding",
    "positive",
    "AUROC %",
    "95 % interval",
    "at 90 % specificity",
    "sensitivity %",
    "specificity %",
    "ECE %",
)
"""Column headers of the table."""
ON_SCREENING = (
    "Interval by DeLong. 'At 90 % specificity' is the sensitivity at that point of the test set's own ROC curve. The "
    "threshold of each finding is the lowest with a specificity of at least 90 % on the validation set; sensitivity "
    "and specificity are those of this threshold on the test set, where the specificity may differ from 90 %. ECE is "
    "the expected calibration error."
)
"""Note below the table."""
_POINTS = ("sensitivity_at_90", "sensitivity", "specificity", "calibration_error")
_SHARES = ("auroc", "low", "high", *_POINTS)


def screened(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Format the metrics of each finding and test set, with one cell per column of :data:`SCREENED`.

    Args:
        rows: see :func:`tl_lab.training.screening.screening_rows`.
    """
    several = len({row["set"] for row in rows}) > 1
    found = []
    for row in rows:
        title = f"{row['finding']} ({row['set']})" if several else str(row["finding"])
        shares = {name: format_metric("acc", row.get(name)) for name in _SHARES}
        cells = [title, f"{row['positive']:,} of {row['samples']:,}", shares["auroc"]]
        cells += [f"{shares['low']} to {shares['high']}"]
        found.append(cells + [shares[name] for name in _POINTS])
    return found
