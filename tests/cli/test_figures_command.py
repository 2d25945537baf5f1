"""``figures`` says of each run what it has drawn, or why it has not."""

from pathlib import Path

import pytest

from tl_lab.cli.figures import draw_missing

COMPLETED = '{"schema": 1, "status": "completed", "metrics": {}, "seed": 0}'


def test_the_reason_for_missing_figures_is_printed_with_the_run(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "results.json").write_text(COMPLETED)
    (tmp_path / "other" / "config.yaml").write_text("seed: [")
    assert draw_missing([tmp_path]) == 2
    counted, *lines = capfd.readouterr().out.splitlines()
    assert counted == "2 completed runs, 2 without figures"
    assert [line.partition(": no figures, because ")[0] for line in lines] == [f"{tmp_path}/one", f"{tmp_path}/other"]
    assert all("config.yaml" in line for line in lines)
