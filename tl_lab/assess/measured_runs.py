"""Accuracies of finished fine-tuning runs on the same data, against which a ranking is checked."""

import os
from collections import defaultdict
from pathlib import Path

from tl_lab.assess.material import Material
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, read_results

__all__ = ["measured"]

_TUNED = ("fine_tuning", "linear_probe", "feature_extraction")


def measured(material: Material) -> dict[str, tuple[float, int]]:
    """Find completed runs that tuned a backbone on the same data.

    Args:
        material: of the assessment.

    Returns:
        Mean test accuracy and number of runs by backbone: of the target where there is one.
    """
    given = material.options.runs
    root = Path(given) if given else Path(os.environ.get("TL_LAB_OUTPUTS", "outputs"))
    found: dict[str, list[float]] = defaultdict(list)
    if not root.is_dir():
        return {}
    for path in root.glob(f"*/*/**/{RESULTS}") if not given else root.rglob(RESULTS):
        try:
            results = read_results(path.parent)
        except UserError:
            continue  # another program's, or damaged: it measures nothing
        chosen = results.get("choices") or {}
        if results.get("status") != "completed" or chosen.get("data") != material.plan.data.choice:
            continue
        score = _accuracy(results.get("metrics") or {})
        if chosen.get("strategy") in _TUNED and score is not None:
            found[str(chosen.get("backbone"))].append(score)
    return {name: (sum(values) / len(values), len(values)) for name, values in sorted(found.items())}


def _accuracy(metrics: dict[str, float]) -> float | None:
    names = ("test/target/acc", "test/acc", "test/source/acc")
    return next((float(metrics[name]) for name in names if metrics.get(name) is not None), None)
