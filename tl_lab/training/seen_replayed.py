"""Choices whose updates can be replayed on a GPU, according to the stored results of ``benchmarks/gpu.py``.

``update.graph=auto`` replays only these choices.
"""

import functools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["GROUPS", "MIXED", "MOST_APART", "STORED", "held", "not_seen"]

STORED = Path(__file__).with_name("seen_replayed.json")
"""File with the list of choices; ``benchmarks/gpu.py`` writes it together with ``docs/results/gpu.json``."""

GROUPS = ("strategy", "domain_adaptation", "backbone", "adapter", "optimizer")
"""Groups whose choices determine the code of an update."""

MIXED = "trainer.precision=bf16-mixed"
"""The mixed precision whose updates can be replayed; results of the default precision do not cover it."""

_FEWEST_REPLAYS = 2
MOST_APART = 0.01
"""Largest distance of the weights of both runs that counts as rounding, as a share of how far training moves them."""


def held(found: Mapping[str, Any]) -> list[str]:
    """Select the choices whose updates were replayed on a GPU as they are launched kernel by kernel.

    Args:
        found: the benchmark's results. ``choices`` has for each ``GROUP=CHOICE`` the status of its runs, ``plain`` and
            ``graph``, the number of ``replays``, and by how much the weights of the two runs are ``apart``, as a share
            of the distance from their start; at least two replays and at most .01 count. ``step_choices`` lists the
            choices of each timed step, which count if all of its updates could be replayed and took less time.

    Returns:
        The selected choices of :data:`GROUPS`, and :data:`MIXED` if it was, sorted.
    """
    seen = {name for name, ended in found.get("choices", {}).items() if _agrees(ended)}
    for step, names in found.get("step_choices", {}).items():
        replayed, plain = found.get(step, {}).get("frame_graph"), found.get(step, {}).get("frame")
        if replayed and plain and not replayed.get("not_replayed") and replayed["ms"] < plain["ms"]:
            seen.update(names)
    return sorted(name for name in seen if name.partition("=")[0] in GROUPS or name == MIXED)


def _agrees(ended: Mapping[str, Any]) -> bool:
    """Whether both runs of a choice completed, with replays and with equal weights up to rounding."""
    return (
        ended.get("plain") == ended.get("graph") == "completed"
        and ended.get("replays", 0) >= _FEWEST_REPLAYS
        and ended.get("apart", math.inf) <= MOST_APART
    )


def not_seen(chosen: Mapping[str, str], seen: list[str] | None = None) -> str | None:
    """Return the reason why ``update.graph=auto`` does not replay a run; None if it does.

    Args:
        chosen: the choice of each group, and ``trainer.precision``; groups outside of :data:`GROUPS` are ignored.
        seen: choices that are known to work; None for the stored list.
    """
    known = _stored() if seen is None else seen
    names = [f"{group}={chosen[group]}" for group in GROUPS if group in chosen]
    if chosen.get("trainer.precision") in ("bf16-mixed", "bf16"):  # two names of the same
        names.append(MIXED)
    unknown = [name for name in names if name not in known]
    if not unknown:
        return None
    return f"not yet verified on a GPU with {' and '.join(unknown)} (update.graph=true replays anyway)"


@functools.cache
def _stored() -> list[str]:
    return list(json.loads(STORED.read_text(encoding="utf-8")))
