"""Data sets, one file per data set."""
