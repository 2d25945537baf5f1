"""Figures: pure functions from numbers to matplotlib figures."""
