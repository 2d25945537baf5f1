"""Scenarios built from labelled sets: pairs of domains, several sources, streams of tasks, and episodes."""
