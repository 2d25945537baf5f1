"""What a benchmark found, without the places of the machine that it ran on."""

import re
from pathlib import PurePosixPath
from typing import Any

__all__ = ["portable"]

_ABSOLUTE = re.compile(r"(?<![\w.:/~])/(?:[^\s/'\"():,;]+/)+[^\s/'\"():,;]*")


def portable(value: Any) -> Any:
    """Shorten every absolute path in texts to its last part, in lists and mappings at any depth.

    Args:
        value: plain, as it will be stored.

    Returns:
        The same with ``.../images.zip`` for ``/somewhere/data/images.zip``.
    """
    if isinstance(value, dict):
        return {key: portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if isinstance(value, str):
        return _ABSOLUTE.sub(lambda found: f".../{PurePosixPath(found[0]).name}", value)
    return value
