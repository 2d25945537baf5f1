"""Reference scores for a run: those of the same experiment without adaptation."""

import contextlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, read_results
from tl_lab.results.names import leading_metric, leads, split_name
from tl_lab.texts import counted

__all__ = ["Reference", "known_reference"]

STORED = Path(__file__).with_name("references.json")
"""Source-only results shipped with the project, by comparison key; ``benchmarks/embedded_pair.py`` creates them."""

_SOURCE_ONLY = ("none", "source_only")


@dataclass(frozen=True)
class Reference:
    """Source-only scores that are printed next to those of an adapted run.

    Args:
        metrics: mean of each metric by name.
        origin: description of where they come from.
        health: measurements on the two domains (``head``, ``source_score``); empty if there are none.
    """

    metrics: Mapping[str, float]
    origin: str
    health: Mapping[str, Any] = field(default_factory=dict)

    def accuracies(self) -> dict[str, float]:
        """Return the main test metric of each domain by the domain's name (``""`` without domains)."""
        names = {name: split_name(name) for name in self.metrics}
        tested = {name: of for name, of in names.items() if of.split == "test"}
        leading = leading_metric(name for name in tested if leads(name))
        return {of.part: self.metrics[name] for name, of in tested.items() if of.metric == leading}


def known_reference(content: Mapping[str, Any], folder: Path) -> Reference | None:
    """Find the source-only result of the same experiment.

    Runs in neighbouring folders are preferred (the one with the same seed, or else the mean over other seeds) to the
    results shipped with the project.

    Args:
        content: the run's results.
        folder: the run's folder. Neighbours are in ``../../*/*``, for ``runs/<name>/<time>`` as for jobs of a sweep.

    Returns:
        The reference; None if none is known, or if the run itself is a source-only run.
    """
    key, choice = content.get("comparison_key"), content.get("choices", {}).get("domain_adaptation")
    if key is None or choice in _SOURCE_ONLY:
        return None
    found = []
    for path in sorted(folder.resolve().parent.parent.glob(f"*/*/{RESULTS}")):
        with contextlib.suppress(UserError, OSError):
            if key.encode() not in path.read_bytes():  # faster than parsing the results of thousands of runs
                continue
            other = read_results(path.parent)
            plain = other.get("choices", {}).get("domain_adaptation") in _SOURCE_ONLY
            if plain and other.get("status") == "completed" and other.get("comparison_key") == key:
                found.append(other)
    same = [other for other in found if other["seed"] == content["seed"]]
    if same:
        origin = f"this machine's run with seed {content['seed']}"
        return Reference(same[-1]["metrics"], origin, same[-1].get("health") or {})
    if found:
        by_seed = {other["seed"]: other for other in found}
        runs = list(by_seed.values())
        origin = f"mean of this machine's runs, {counted(len(by_seed), 'seed')}"
        return Reference(_means([run["metrics"] for run in runs]), origin, _mean_health(runs))
    with contextlib.suppress(OSError, ValueError):
        if stored := json.loads(STORED.read_text(encoding="utf-8")).get(key):
            return Reference(stored["metrics"], stored["origin"])
    return None


def _mean_health(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    healths = [run.get("health") or {} for run in runs]
    if not all(health.get("head") for health in healths):
        return {}
    scores = [health.get("source_score") for health in healths]
    known = [score for score in scores if score is not None]
    source = statistics.fmean(known) if len(known) == len(scores) else None
    return {"head": _means([health["head"] for health in healths]), "source_score": source}


def _means(rows: list[Mapping[str, float]]) -> dict[str, float]:
    shared = set.intersection(*(set(row) for row in rows))
    return {name: statistics.fmean(float(row[name]) for row in rows) for name in sorted(shared)}
