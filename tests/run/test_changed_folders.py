"""Runs whose folder, configuration or network was changed meanwhile, and settings that fail within a run."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from composing import run_in
from omegaconf import OmegaConf

import tl_lab
from tl_lab.backbones.mlp import MLP
from tl_lab.config import difference_from_recorded
from tl_lab.errors import UserError
from tl_lab.results.folder.files import read_results, write_json
from tl_lab.run import experiment

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = ["data=digits", "data.labels=50", "backbone=mlp", "backbone.hidden=[4]", "trainer.max_epochs=1", "logger=none"]
SMALL += ["figures=false", "trainer.enable_progress_bar=false"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_in(folder, *SMALL)
    return folder


def _copy(finished: Path, folder: Path, **changed: Any) -> Path:
    """Copy a run and edit its configuration."""
    shutil.copytree(finished, folder)
    cfg = OmegaConf.load(folder / "config.yaml")
    for key, value in changed.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    OmegaConf.save(cfg, folder / "config.yaml")
    return folder


def _warnings_of_load(folder: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tl_lab.load(folder)
    return [str(one.message) for one in caught if "config.yaml" in str(one.message)]


def test_a_configuration_that_was_edited_is_reported_when_a_model_is_loaded(finished: Path, tmp_path: Path) -> None:
    assert _warnings_of_load(finished) == []
    assert _warnings_of_load(_copy(finished, tmp_path / "renamed", name="another name")) == []
    edited = _copy(finished, tmp_path / "edited", backbone__activation="tanh")
    (message,) = _warnings_of_load(edited)
    before = read_results(edited)["config_hash"][:10]
    assert message.startswith(f"{edited / 'config.yaml'} was edited since the run started (its hash was {before}, now ")
    assert message.endswith("): predictions may differ from those of the run")
    (edited / "results.json").unlink()
    assert _warnings_of_load(edited) == []


def test_a_run_that_is_being_lengthened_was_not_edited(finished: Path) -> None:
    cfg, results = OmegaConf.load(finished / "config.yaml"), read_results(finished)
    assert difference_from_recorded(cfg, {}) == difference_from_recorded(cfg, results) == ""
    other = {**results, "config_hash": "0" * 64}
    assert "its hash was 0000000000, now " in difference_from_recorded(cfg, other)
    assert difference_from_recorded(cfg, {**other, "config_hash_before": results["config_hash"]}) == ""


def test_a_network_that_was_changed_before_a_run_is_resumed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _copy(finished, tmp_path / "run")
    write_json(folder / "results.json", {**read_results(folder), "status": "running"})
    build = MLP.__init__
    monkeypatch.setattr(MLP, "__init__", lambda self, hidden, **options: build(self, hidden=[5], **options))
    with pytest.raises(UserError, match="the checkpoint does not match the networks of the configuration"):
        tl_lab.run([f"resume={folder}", "trainer.max_epochs=2"])
    assert read_results(folder)["status"] == "failed"


@pytest.mark.parametrize("evaluate", ["best", "last"])
def test_a_folder_that_is_deleted_during_the_run(
    evaluate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, folder = experiment._fit, tmp_path / "run"

    def deleting(*given: Any) -> None:
        fit(*given)
        shutil.rmtree(folder)

    monkeypatch.setattr(experiment, "_fit", deleting)
    with pytest.raises(UserError, match=f"{folder} was deleted or moved during the run"):
        run_in(folder, *SMALL, f"data.evaluate={evaluate}")
    assert not (folder / "results.json").exists() or read_results(folder)["status"] == "failed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["trainer.devices=-1"],
            r"trainer\.devices=-1 counts GPUs: give the number of processes on the CPU, at least 1",
        ),
        (["data.batch_size=1", "backbone.batch_norm=true"], "batch-norm cannot normalise a training batch of one"),
    ],
)
def test_settings_that_fail_within_a_run(given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        run_in(tmp_path / "run", *SMALL, *given)
    assert "\n" not in str(refused.value)
    assert read_results(tmp_path / "run")["status"] == "failed"
