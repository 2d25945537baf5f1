"""Validators: scores that select an epoch or a run without the target's labels."""
