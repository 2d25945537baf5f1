"""The training step: objective, parameter groups, schedules, measuring."""
