"""What every finished run can do, whatever it predicts: watch for drift, and describe itself."""

from pathlib import Path
from typing import Any

from tl_lab.assess import running
from tl_lab.assess.card import write_card
from tl_lab.assess.monitor import monitor
from tl_lab.assess.results import NotApplicable, PartResult
from tl_lab.results.folder.files import read_results
from tl_lab.results.names import readable, split_name


def is_monitored_and_described(run: Path, *data: str) -> Any:
    """Hold a run's own test data against its reference, and write its card, which names its scores.

    Args:
        run: its folder.
        data: overrides of its data.

    Returns:
        What the monitor found.
    """
    found = monitor(run, data)
    results = read_results(run)
    tested = [count for name, count in results["sizes"].items() if name.endswith("test")]
    assert len(found.new.names) == len(found.new.answers) == len(found.new.features) == tested[-1]
    assert {"softmax_ks", "pca_ks", "untrained_ks"} <= found.drift.detections.keys()
    assert all(0 <= one.p <= 1 for one in found.drift.detections.values())
    text = write_card(run)[0].read_text(encoding="utf-8")
    scores = {split_name(name).metric for name in results["metrics"] if name.startswith("test/")}
    assert any(readable(name) in text for name in scores)
    return found


def is_assessed(folder: Path, *words: str) -> None:
    """Assess data and a backbone quickly: every part answers or does not apply, and the domains are compared.

    Args:
        folder: for the result.
        words: overrides of data and backbone.
    """
    few = ["assess=quick", "assess.samples=60", "assess.permutations=20", "assess.folds=2"]
    found, _ = running.carry_out([*words, *few], folder)
    failed = [part for part in found.parts.values() if isinstance(part, NotApplicable) and part.failed]
    assert not failed
    assert isinstance(found.parts["similarity"], PartResult)
    assert isinstance(found.parts["drift"], PartResult)
