"""How a backbone's knowledge is used: one file a strategy, contract in ``base``, the layer policy in ``layers``."""
