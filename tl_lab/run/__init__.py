"""One run: planned from its configuration, built, trained, tested, stored; and read again afterwards."""
