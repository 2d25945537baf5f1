"""Choices whose updates were replayed on a GPU, by the stored results of ``benchmarks/gpu.py``.

``update.graph=auto`` replays only these.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["GROUPS", "STORED", "held", "not_seen"]

STORED = Path(__file__).with_name("seen_replayed.json")
"""The choices, in a list; written by ``benchmarks/gpu.py`` with ``docs/results/gpu.json``."""

GROUPS = ("strategy", "domain_adaptation", "backbone", "adapter", "optimizer")
"""Groups whose choices run within an update."""

_MOST_APART = 0.01  # of the loss after two updates, relative: rounding explains less, and another update more


def held(tried: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Select the choices that completed a run on a GPU, both with separate kernels and replayed, with the same loss.

    Args:
        tried: for each ``GROUP=CHOICE``, how its runs ended, ``plain`` and ``graph``, and their last ``loss`` and
            ``graph_loss``, which may differ by 1 %.

    Returns:
        Those of :data:`GROUPS`, sorted.
    """
    return sorted(
        name
        for name, ended in tried.items()
        if name.partition("=")[0] in GROUPS
        and ended.get("plain") == ended.get("graph") == "completed"
        and _agree(ended.get("loss"), ended.get("graph_loss"))
    )


def _agree(loss: float | None, replayed: float | None) -> bool:
    """Whether two losses agree; methods without a loss have none to compare."""
    if loss is None or replayed is None:
        return loss is replayed
    return abs(loss - replayed) <= _MOST_APART * abs(loss)


def not_seen(chosen: Mapping[str, str], seen: list[str] | None = None) -> str | None:
    """Return the reason why ``update.graph=auto`` does not replay a run; None if it does.

    Args:
        chosen: the choice of each group; groups outside of :data:`GROUPS` are ignored.
        seen: choices that were seen to hold; None for the stored ones.
    """
    known = _stored() if seen is None else seen
    names = [f"{group}={chosen[group]}" for group in GROUPS if group in chosen]
    unknown = [name for name in names if name not in known]
    if not unknown:
        return None
    return f"not yet seen to hold on a GPU with {' and '.join(unknown)} (update.graph=true replays them)"


@functools.cache
def _stored() -> list[str]:
    return list(json.loads(STORED.read_text(encoding="utf-8")))
