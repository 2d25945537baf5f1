"""Finished runs on the same data: their accuracies, against which a ranking is checked, and what they used."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tl_lab.assess.material import Material
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, read_results

__all__ = ["accuracy_of", "finished", "measured"]

_TUNED = ("fine_tuning", "linear_probe", "feature_extraction")


def finished(material: Material) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Find the completed runs on the same data.

    Args:
        material: of the assessment.

    Yields:
        A run's folder and the content of its ``results.json``.
    """
    given = material.options.runs
    root = Path(given) if given else Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
    if not root.is_dir():
        return
    for path in sorted(root.rglob(RESULTS) if given else root.glob(f"*/*/**/{RESULTS}")):
        try:
            results = read_results(path.parent)
        except UserError:
            continue  # another program's, or damaged: it measures nothing
        same_data = (results.get("choices") or {}).get("data") == material.plan.data.choice
        if results.get("status") == "completed" and same_data:
            yield path.parent, results


def measured(material: Material) -> dict[str, tuple[float, int]]:
    """Find runs that tuned the backbones in one way: those of the protocol that most of the backbones share.

    Runs with other strategies, adapters, adaptations, numbers of labels or test samples are no comparison of backbones.

    Args:
        material: of the assessment.

    Returns:
        Mean test accuracy and number of runs by backbone: of the target where there is one.
    """
    protocols: dict[tuple[str, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, results in finished(material):
        chosen, score = results.get("choices") or {}, accuracy_of(results.get("metrics") or {})
        if chosen.get("strategy") in _TUNED and score is not None:
            alike = [str(chosen.get(group)) for group in ("strategy", "adapter", "domain_adaptation", "experiment")]
            sizes = str(sorted((results.get("sizes") or {}).items()))
            protocols[*alike, sizes][str(chosen.get("backbone"))].append(score)
    names = {one.name for one in material.subjects}
    best = max(
        protocols.values(),
        key=lambda found: (len(names & found.keys()), sum(len(found[name]) for name in names & found.keys())),
        default={},
    )
    return {name: (sum(values) / len(values), len(values)) for name, values in sorted(best.items()) if name in names}


def accuracy_of(metrics: Mapping[str, float]) -> float | None:
    """Read a run's test accuracy: of the target where there is one."""
    names = ("test/target/acc", "test/acc", "test/source/acc")
    return next((float(metrics[name]) for name in names if metrics.get(name) is not None), None)
