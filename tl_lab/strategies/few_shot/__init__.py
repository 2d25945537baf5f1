"""How few examples are learned from: a strategy a file."""
