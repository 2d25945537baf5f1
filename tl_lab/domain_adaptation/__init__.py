"""What ties two domains together: one file a method, contract in ``base``."""
