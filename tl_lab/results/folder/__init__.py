"""The files of a run's folder: written whole or not at all, and read again."""
