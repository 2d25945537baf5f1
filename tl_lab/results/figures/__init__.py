"""Figures, as pure functions that return matplotlib figures."""
