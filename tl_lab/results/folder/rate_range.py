"""The curve of a learning-rate range test, as a table in a run's folder."""

__all__ = ["RATE_RANGE"]

RATE_RANGE = "lr_find.csv"
"""Its file name; the columns are ``rate``, ``loss`` and ``smoothed``."""
