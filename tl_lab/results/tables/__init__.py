"""Convert runs to rows, comparisons and tables."""
