"""``debug=true``: one tiny run through all stages."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tl_lab import commands
from tl_lab.cli.train import main
from tl_lab.config.debug import debugged, without_debug


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_tiny_run_goes_through_all_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    # what is proposed next is the whole run, without the settings of the trial
    proposed = capsys.readouterr().out.partition("What to try next:")[2]
    assert f"{commands.train(*small, 'trainer.max_updates=3', 'logger=[csv]')}\n" in proposed
    assert "debug" not in proposed


def test_the_settings_of_a_trial_give_way_to_given_ones_and_come_off_again() -> None:
    given = ["seed=1", "debug=true", "trainer.max_updates=3", "figures=false"]
    tiny = debugged(given)
    assert tiny[:4] == given
    assert not [text for text in tiny[4:] if text.startswith(("trainer.max_epochs", "figures"))]
    assert without_debug(tiny) == ["seed=1", "trainer.max_updates=3", "figures=false"]
    assert debugged(["seed=1"]) == without_debug(["seed=1"]) == ["seed=1"]
