"""Choices whose updates can be replayed on a GPU, according to the stored results of ``benchmarks/gpu.py``.

``update.graph=auto`` replays only these choices.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["GROUPS", "STORED", "held", "not_seen"]

STORED = Path(__file__).with_name("seen_replayed.json")
"""File with the list of choices; ``benchmarks/gpu.py`` writes it together with ``docs/results/gpu.json``."""

GROUPS = ("strategy", "domain_adaptation", "backbone", "adapter", "optimizer")
"""Groups whose choices determine the code of an update."""

_MOST_APART = 0.01  # relative difference of the losses: rounding causes a smaller one, a wrong update a larger one


def held(tried: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Select the choices whose runs on a GPU completed with separate kernels and replayed, with equal losses.

    Args:
        tried: for each ``GROUP=CHOICE``, the status of its runs, ``plain`` and ``graph``, and their last ``loss`` and
            ``graph_loss``, which may differ by 1 %.

    Returns:
        The selected choices of :data:`GROUPS`, sorted.
    """
    return sorted(
        name
        for name, ended in tried.items()
        if name.partition("=")[0] in GROUPS
        and ended.get("plain") == ended.get("graph") == "completed"
        and _agree(ended.get("loss"), ended.get("graph_loss"))
    )


def _agree(loss: float | None, replayed: float | None) -> bool:
    """Whether two losses agree; both are None for methods without a loss."""
    if loss is None or replayed is None:
        return loss is replayed
    return abs(loss - replayed) <= _MOST_APART * abs(loss)


def not_seen(chosen: Mapping[str, str], seen: list[str] | None = None) -> str | None:
    """Return the reason why ``update.graph=auto`` does not replay a run; None if it does.

    Args:
        chosen: the choice of each group; groups outside of :data:`GROUPS` are ignored.
        seen: choices that are known to work; None for the stored list.
    """
    known = _stored() if seen is None else seen
    names = [f"{group}={chosen[group]}" for group in GROUPS if group in chosen]
    unknown = [name for name in names if name not in known]
    if not unknown:
        return None
    return f"not yet verified on a GPU with {' and '.join(unknown)} (update.graph=true replays anyway)"


@functools.cache
def _stored() -> list[str]:
    return list(json.loads(STORED.read_text(encoding="utf-8")))
