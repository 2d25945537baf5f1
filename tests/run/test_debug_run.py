"""``debug=true``: one tiny run through all stages."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tl_lab.cli.train import main


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_tiny_run_goes_through_all_stages(tmp_path: Path) -> None:
    small = ["data=digits", "data.batch_size=16", "data.eval_batch_size=16", "backbone=mlp", "backbone.hidden=[4]"]
    main(["debug=true", *small, "trainer.max_updates=3", "logger=[csv]", f"hydra.run.dir={tmp_path / 'run'}"])
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["status"] == "completed"
    assert "debug" in results["protocol"]
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["step"].max() == 3
    assert 0 <= results["metrics"]["test/acc"] * 32 == pytest.approx(round(results["metrics"]["test/acc"] * 32))
    assert list((tmp_path / "run" / "figures").glob("*.png"))
    assert (tmp_path / "run" / "csv").is_dir()
    assert not (tmp_path / "run" / "wandb").exists()
    assert not (tmp_path / "run" / "train.log").exists()  # nothing was logged
