"""Feature extractors: one file per family; ``base`` defines the contract."""
