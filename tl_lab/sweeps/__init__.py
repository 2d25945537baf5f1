"""Sweeps: many runs from one command, each in a separate process."""
