"""The files of a run's folder: written atomically, and read."""
