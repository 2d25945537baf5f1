"""The report of a sweep: its sections, and the formats in which it is written."""
