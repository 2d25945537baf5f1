"""Scenarios: pairs of domains, streams of tasks, episodes; each works on any labelled set."""
