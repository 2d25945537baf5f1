"""Writing and reading of the files in a run's folder; all are written atomically."""
