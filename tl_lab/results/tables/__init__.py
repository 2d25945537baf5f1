"""Conversion of runs to rows, comparisons and tables."""
