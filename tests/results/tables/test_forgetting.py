"""Scores on the base's own task, from folders in the format of runs to the report."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tl_lab.results.folder.files import write_json
from tl_lab.results.report.writing import write_report
from tl_lab.results.tables.collecting import collect
from tl_lab.results.tables.forgetting import find_forgotten

TASK = "Spearman's correlation of cosines with 150 similarities of STS-B"
MEASURED = {"none": [(0.82, 0.61), (0.82, 0.64), (0.82, 0.55)], "lora": [(0.82, 0.80), (0.82, 0.79)]}


def _run(folder: Path, adapter: str, seed: int, **content: object) -> None:
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(f"- adapter={adapter}\n- seed={seed}\n")
    facts = {"schema": 1, "status": "completed", "duration_s": 1.0, "seed": seed}
    write_json(folder / "results.json", facts | content)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Runs with two adapters that were scored on their base's task, and some without the scores."""
    for adapter, scores in MEASURED.items():
        for seed, (before, after) in enumerate(scores):
            metrics = {"test/acc": 0.9, "base/before/spearman": before, "base/after/spearman": after}
            watched = {"task": TASK, "metric": "spearman", "before": before, "after": after}
            _run(tmp_path / f"{adapter}{seed}", adapter, seed, metrics=metrics, forgetting=watched)
    _run(tmp_path / "prompt", "prompt", 0, metrics={"test/acc": 0.8})
    broken = {"task": TASK, "metric": "spearman", "before": 0.82}
    _run(tmp_path / "broken", "lora", 2, status="failed", metrics={}, forgetting=broken, error="stopped")
    return tmp_path


def test_each_setting_has_the_scores_of_its_completed_runs(sweep: Path) -> None:
    found = {each.setting: each for each in find_forgotten(collect(sweep))}
    assert found.keys() == {f"adapter={name}" for name in MEASURED}
    for name, scores in MEASURED.items():
        each = found[f"adapter={name}"]
        assert (each.task, each.metric) == (TASK, "spearman")
        assert list(zip(each.before, each.after, strict=True)) == scores
    before, after = np.array(MEASURED["none"]).T
    change = found["adapter=none"].change
    reference = stats.ttest_rel(after, before)
    assert change.n == 3
    assert change.mean == pytest.approx(np.mean(after - before))
    assert change.p == pytest.approx(reference.pvalue)
    interval = reference.confidence_interval(0.95)
    assert change.half == pytest.approx((interval.high - interval.low) / 2)


def test_the_report_shows_the_base_task_before_and_after(sweep: Path) -> None:
    text = write_report(sweep, figure=False).read_text("utf-8")
    part = text.partition("## Base task before and after")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]
    assert rows[0] == ["setting", "base task", "metric", "n", "before", "after", "change"]
    shown = {row[0]: row[1:] for row in rows[2:]}
    assert shown.keys() == {f"adapter={name}" for name in MEASURED}
    assert shown["adapter=lora"] == [
        TASK, "Spearman", "2", "0.820 (0.820, 0.820)", "0.795 (0.790, 0.800)", "-0.025 (-0.030, -0.020)",
    ]  # fmt: skip
    assert shown["adapter=none"][3].startswith("0.820")
    assert shown["adapter=none"][5].startswith("-0.220 ± ")
    assert "Base task" in (sweep / "report.html").read_text("utf-8")


def test_a_sweep_without_these_scores_has_no_such_table(tmp_path: Path) -> None:
    _run(tmp_path / "0", "lora", 0, metrics={"test/acc": 0.8})
    assert find_forgotten(collect(tmp_path)) == []
    assert "Base task" not in write_report(tmp_path, figure=False).read_text("utf-8")
