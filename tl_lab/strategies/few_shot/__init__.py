"""Few-shot strategies: one file each; ``base`` defines the contract."""
