"""Where samples come from, and in which scenario: one file a data set, contracts in ``base`` and ``batches``."""
