"""Monitoring of a run, independent of its strategy: the health of an adaptation, and validators."""
