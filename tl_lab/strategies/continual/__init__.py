"""Strategies that learn a stream of tasks: one file a strategy, contract in ``base``."""
