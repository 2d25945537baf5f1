"""Figures: pure functions from numbers to matplotlib Figures."""
