"""The notebooks in ``examples/notebooks`` run from their first cell to their last, on shortened runs."""

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import tl_lab

NOTEBOOKS = sorted((Path(__file__).parent.parent / "examples" / "notebooks").glob("*.ipynb"))
SHORTER = ["++data.batches_per_epoch=2", "trainer.max_epochs=1", "health=false", "forgetting=false"]
SHORTER += ["trainer.enable_progress_bar=false"]
SMALLER = {
    "domain_adaptation": ["figures=false"]
    + [f"data.{name}=100" for name in ("source_count", "source_test_count", "target_test_count")]
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("agg")
    monkeypatch.setenv("TL_LAB_OUTPUTS", str(tmp_path))
    whole, seen = tl_lab.run, []

    def shorter(overrides: list[str]) -> Any:
        kept = [text for text in overrides if not text.startswith("trainer.max_epochs=")]
        seen.append(whole([*kept, *SHORTER, *SMALLER.get(path.stem, [])]))
        return seen[-1]

    monkeypatch.setattr(tl_lab, "run", shorter)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"]).replace("range(40)", "range(6)")  # pictures of each class
            exec(compile(source, str(path), "exec"), names)
    assert seen
    assert all(run.results["status"] == "completed" for run in seen)


def test_both_documented_notebooks_exist() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["domain_adaptation", "fine_tuning"]
