"""Strategies: one file each; ``base`` defines the contract."""
