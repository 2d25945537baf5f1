"""Scenarios: pairs of domains, streams of tasks, episodes; each supports any labelled set."""
