"""Data sets and scenarios: one file per data set; ``base`` and ``batches`` define the contracts."""
