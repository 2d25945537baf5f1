"""The file with the curve of a learning-rate range test in a run's folder."""

__all__ = ["RATE_RANGE"]

RATE_RANGE = "lr_find.csv"
"""Name of the file, whose columns are ``rate``, ``loss`` and ``smoothed``."""
