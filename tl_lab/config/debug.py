"""The trial run of ``debug=true``: two batches of each stage."""

from collections.abc import Sequence

__all__ = ["debugged", "is_trial", "without_debug"]

_TINY = {
    "trainer.max_epochs": "trainer.max_epochs=1",
    "trainer.limit_train_batches": "trainer.limit_train_batches=2",
    "trainer.limit_val_batches": "trainer.limit_val_batches=2",
    "trainer.limit_test_batches": "trainer.limit_test_batches=2",
    "figures": "figures=true",
    "logger.mode": "++logger.mode=disabled",  # a choice of loggers without W&B has no mode
}
"""Overrides of ``debug=true``, by key."""


def is_trial(overrides: Sequence[str]) -> bool:
    """Whether ``debug=true`` is given."""
    return any(text.lower() == "debug=true" for text in overrides)


def debugged(overrides: Sequence[str]) -> list[str]:
    """Add the settings of ``debug=true`` where it is given, except for keys that are also given.

    Examples:
        >>> debugged(["debug=true", "figures=false"])[:3]
        ['debug=true', 'figures=false', 'trainer.max_epochs=1']
        >>> debugged(["seed=1"])
        ['seed=1']
    """
    if not is_trial(overrides):
        return list(overrides)
    given = {text.partition("=")[0].lstrip("+") for text in overrides}
    if "trainer.max_updates" in given:
        given.add("trainer.max_epochs")  # each sets the length of training
    return [*overrides, *(text for key, text in _TINY.items() if key not in given)]


def without_debug(overrides: Sequence[str]) -> list[str]:
    """Remove ``debug=true`` and the settings that it added.

    Examples:
        >>> without_debug(debugged(["seed=1", "debug=true"]))
        ['seed=1']
        >>> without_debug(debugged(["debug=true", "figures=true"]))
        ['figures=true']
    """
    whole = list(overrides)
    given = next((given for count in range(len(whole)) if debugged(given := whole[:count]) == whole), whole)
    return [text for text in given if text.lower() != "debug=true"]
