"""Killed and resumed runs end like uninterrupted ones: scores, protocol, tables, choices."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from program_starts import Start

from tl_lab.cli.train import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]

SHORT = ["trainer.max_epochs=2", "threads=1", "trainer.enable_progress_bar=false", "logger=none", "figures=false"]
STREAM = ["data=split_digits", "data.num_tasks=2", "backbone=mlp", "backbone.hidden=[16]", "data.batches_per_epoch=4"]
CLASS = ["data.scenario=class"]
TABLES = ("metrics.csv", "accuracy_matrix.csv", "within_task_accuracy_matrix.csv")
LEFT_OUT = ("duration_s", "written", "health")


def results(folder: Path) -> dict[str, Any]:
    """Read what a run has written, without what the clock says."""
    content = json.loads((folder / "results.json").read_text())
    return {name: value for name, value in content.items() if name not in LEFT_OUT}


def tables(folder: Path) -> dict[str, str]:
    """Read the tables that are there."""
    return {name: (folder / name).read_text() for name in TABLES if (folder / name).exists()}


def killed(folder: Path, place: str, overrides: list[str]) -> None:
    """Start a run as a process of its own that kills itself where a function is called."""
    start = Start(*overrides, f"hydra.run.dir={folder}", output=folder.parent / f"{folder.name}.txt", dies_at=place)
    assert start.wait() == -signal.SIGKILL


@pytest.mark.parametrize("strategy", ["ewc", "online_ewc", "si", "mas", "lwf", "replay", "der_plus_plus", "joint"])
def test_a_class_incremental_stream_that_dies_at_its_test(strategy, tmp_path):
    overrides = [*STREAM, *CLASS, f"strategy={strategy}", *SHORT]
    main([*overrides, f"hydra.run.dir={tmp_path / 'unbroken'}"])
    killed(tmp_path / "killed", "tl_lab.training.measuring:Measuring.on_test_epoch_start", overrides)
    main([f"resume={tmp_path / 'killed'}"])
    assert results(tmp_path / "killed") == results(tmp_path / "unbroken")
    assert tables(tmp_path / "killed") == tables(tmp_path / "unbroken")


@pytest.mark.parametrize("overrides", [[*STREAM, "strategy=ewc"], ["data=digits", "backbone=mlp", "data.labels=100"]])
def test_a_run_that_dies_between_a_checkpoint_and_its_table(overrides, tmp_path):
    main([*overrides, *SHORT, f"hydra.run.dir={tmp_path / 'unbroken'}"])
    place = "tl_lab.results.folder.metrics_csv:MetricsCsv.after_save_checkpoint"
    killed(tmp_path / "killed", place, [*overrides, *SHORT])
    main([f"resume={tmp_path / 'killed'}"])
    assert results(tmp_path / "killed") == results(tmp_path / "unbroken")
    assert tables(tmp_path / "killed") == tables(tmp_path / "unbroken")


def test_a_run_that_dies_before_its_first_results_knows_its_choices(tmp_path):
    overrides = ["data=digits", "backbone=mlp", "data.labels=100", *SHORT]
    main([*overrides, f"hydra.run.dir={tmp_path / 'unbroken'}"])
    killed(tmp_path / "killed", "tl_lab.results.folder.record:Record.start", overrides)
    assert not (tmp_path / "killed" / "results.json").exists()
    main([f"resume={tmp_path / 'killed'}"])
    assert results(tmp_path / "killed") == results(tmp_path / "unbroken")
