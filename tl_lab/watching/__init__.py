"""What watches a run from above its strategy: the health of an adaptation, and validators."""
