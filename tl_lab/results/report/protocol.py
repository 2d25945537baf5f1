"""The protocol of a sweep: the facts that affect its results.

This module does not import torch.
"""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["facts_of_all", "facts_of_settings", "format_facts"]


def facts_of_all(runs: "pd.DataFrame") -> dict[str, str]:
    """Return the facts that all completed runs share.

    Args:
        runs: runs as returned by :func:`tl_lab.results.tables.collecting.collect`, with ``protocol`` as JSON.

    Returns:
        Text of each fact by its name, in the order of the first run.
    """
    every = _facts(runs)
    first = every[0][1] if every else {}
    return {name: text for name, text in first.items() if all(facts.get(name) == text for _, facts in every)}


def facts_of_settings(runs: "pd.DataFrame") -> dict[str, str]:
    """Return the facts in which completed runs differ, for each setting.

    Args:
        runs: see :func:`facts_of_all`.

    Returns:
        For each setting, ``name: text; name: text``; texts that differ between seeds are joined with ``/``.
    """
    shared = facts_of_all(runs)
    found: dict[str, dict[str, list[str]]] = {}
    for setting, facts in _facts(runs):
        own = found.setdefault(setting, {})
        for name in facts.keys() - shared.keys():
            own.setdefault(name, []).append(facts[name])
    return {
        setting: format_facts({name: " / ".join(dict.fromkeys(own[name])) for name in sorted(own)})
        for setting, own in found.items()
    }


def format_facts(facts: dict[str, str]) -> str:
    """Format facts as ``name: text; name: text``."""
    return "; ".join(f"{name}: {text}" for name, text in facts.items())


def _facts(runs: "pd.DataFrame") -> list[tuple[str, dict[str, str]]]:
    done = runs[runs["status"] == "completed"]
    return [
        (str(setting), json.loads(text) if isinstance(text, str) else {})
        for setting, text in zip(done["setting"], done["protocol"], strict=True)
    ]
