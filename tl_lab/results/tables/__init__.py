"""Runs become rows, statements and tables."""
