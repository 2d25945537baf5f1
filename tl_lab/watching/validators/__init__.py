"""Scores that choose an epoch, or a run, without the target's labels."""
