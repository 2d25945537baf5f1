"""W&B, offline: a run that goes on stays the same run."""

from pathlib import Path

import pytest

from tl_lab.results.folder.weights_and_biases import finish_wandb, wandb_logger

OPTIONS = dict.fromkeys(("entity", "group", "job_type", "notes"))


def begin(folder: Path) -> str:
    logger = wandb_logger(
        {"mode": "offline", "project": "p", "log_model": False, **OPTIONS}, folder, "name", [], {"seed": 0}
    )
    assert logger is not None
    logger.log_metrics({"val/acc": 0.5}, step=1)
    identity = logger.experiment.id
    finish_wandb({"test/acc": 0.5})
    return identity


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_run_that_goes_on_has_its_first_identity(tmp_path: Path) -> None:
    first = begin(tmp_path / "one")
    assert begin(tmp_path / "other") != first
    assert begin(tmp_path / "one") == first
    stored = list((tmp_path / "one" / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in stored} == {first}
