"""Feature extractors, what knowledge is carried over: one file a family, contract in ``base``."""
