"""Strategies for streams of tasks: one file each; ``base`` defines the contract."""
