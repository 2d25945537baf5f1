"""W&B, offline: a resumed run keeps its identity."""

import os
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
def test_a_run_that_is_resumed_has_its_first_identity(tmp_path: Path) -> None:
    first = begin(tmp_path / "one")
    assert begin(tmp_path / "other") != first
    assert begin(tmp_path / "one") == first
    stored = list((tmp_path / "one" / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in stored} == {first}


NAMES = ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_SWEEP_ID", "WANDB_FORK_FROM")


def test_nothing_in_the_environment_joins_two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "abc123")
    with pytest.warns(UserWarning, match="ignored: each run has its own W&B id"):
        found = [begin(tmp_path / name) for name in ("one", "other")]
    assert len({*found, "abc123"}) == 3
    assert all(os.environ[name] == "abc123" for name in NAMES)
    with pytest.warns(UserWarning, match="WANDB_RUN_ID"):
        assert begin(tmp_path / "one") == found[0]
