"""Loggers in addition to metrics.csv: several at once, Lightning's and the user's own."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from pytorch_lightning.loggers.logger import DummyLogger

from tl_lab.cli.train import main
from tl_lab.config import check, compose
from tl_lab.config.instantiate import foreign
from tl_lab.errors import UserError
from tl_lab.results.folder.metrics_csv import RowsBeforeCheckpoints
from tl_lab.run.plan import Plan
from tl_lab.run.trainer import _check_place, make_loggers

SMALL = ["data=digits", "data.labels=50", "backbone=mlp", "backbone.hidden=[8]", "domain_adaptation=none"]
SMALL += ["trainer.max_epochs=1", "trainer.enable_progress_bar=false", "figures=false"]


class Kept(DummyLogger):
    """A logger of a package of its own."""

    logged: ClassVar[dict[str, float]] = {}

    def __init__(self, run_name: str, level: int = 0) -> None:
        super().__init__()
        self.run_name = run_name

    def log_hyperparams(self, params: dict[str, Any], *_: Any) -> None:
        self.params = params

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        type(self).logged |= metrics


class Lacking:
    """A logger whose package is not installed."""

    def __init__(self) -> None:
        raise ModuleNotFoundError("No module named 'nowhere'")


class Unreachable:
    """A logger whose server does not answer."""

    def __init__(self) -> None:
        raise RuntimeError("no answer from https://example.org\nand a long story")


OWN = f"+logger.mine._target_={__name__}.Kept"


def plan(*overrides: str) -> Plan:
    return Plan.of(compose([*SMALL, *overrides]))


@pytest.mark.parametrize(
    ("overrides", "mode", "names"),
    [
        ([], "offline", []),
        (["logger=none"], "disabled", []),
        (["logger=[]"], "disabled", []),
        (["logger=[csv]"], "disabled", ["csv"]),
        (["logger=csv"], "disabled", ["csv"]),
        (["logger=[wandb,tensorboard,mlflow,csv]"], "offline", ["tensorboard", "mlflow", "csv"]),
        (["logger=[wandb,csv]", "logger.mode=online", "logger.csv.name=x"], "online", ["csv"]),
        (["logger=none", OWN], "disabled", ["mine"]),
    ],
)
def test_which_loggers_a_configuration_names(overrides: list[str], mode: str, names: list[str]) -> None:
    assert check(compose([*SMALL, *overrides])) == []
    found = plan(*overrides)
    assert found.logger["mode"] == mode
    assert list(found.loggers) == names


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["logger=[csv]", "+logger.csv.nme=x"], "logger.csv.nme: CSVLogger has no option 'nme'; did you mean 'name'?"),
        (["logger=none", "+logger.foo=1"], "logger has no key 'foo'"),
        (["logger=none", OWN, "+logger.mine.level=high"], 'logger.mine.level: "high" is not a whole number'),
    ],
)
def test_mistakes_in_loggers(overrides: list[str], message: str) -> None:
    (mistake,) = check(compose([*SMALL, *overrides]))
    assert mistake.startswith(message)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("Lacking", "logger=mine needs a package that is not installed: No module named 'nowhere'"),
        ("Unreachable", "logger=mine cannot start (no answer from https://example.org): leave it out"),
        ("Path", "logger.mine is a PosixPath, not a logger of Lightning"),
    ],
)
def test_loggers_that_cannot_be_built(target: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        make_loggers(plan("logger=none", f"+logger.mine._target_={__name__}.{target}"), tmp_path, None)
    assert str(refused.value) == message


def test_loggers_get_the_runs_folder_its_name_and_its_configuration(tmp_path: Path) -> None:
    found = plan("logger=[csv,tensorboard]", OWN, "seed=3")
    _, table, board, mine = make_loggers(found, tmp_path, None)
    assert Path(str(table.log_dir)) == tmp_path / "csv" / "version_0"
    assert Path(str(board.log_dir)) == tmp_path / "tensorboard" / "version_0"
    assert mine.run_name == "none-from_scratch-digits-seed3"  # type: ignore[attr-defined]
    assert mine.params["seed"] == 3  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_every_logger_gets_what_metrics_csv_holds(tmp_path: Path) -> None:
    main([*SMALL, "logger=[csv,tensorboard]", OWN, f"hydra.run.dir={tmp_path / 'run'}"])
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = {name: float(cell) for row in rows for name, cell in row.items() if cell and "/" in name}
    assert {name: Kept.logged[name] for name in last} == pytest.approx(last)
    with (tmp_path / "run" / "csv" / "version_0" / "metrics.csv").open(newline="") as file:
        names = next(csv.reader(file))
    assert set(last) <= set(names)
    assert list((tmp_path / "run" / "tensorboard" / "version_0").glob("events.*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"save_dir": "{there}/elsewhere"}, "write to '.*elsewhere.*', outside the run's folder"),
        ({"name": "../.."}, "write to '.*', outside the run's folder"),
        ({"save_dir": "{run}/csv", "version": "/etc"}, "write to '/etc', outside the run's folder"),
    ],
)
def test_the_loggers_of_a_stored_configuration_write_into_its_folder(
    options: dict[str, str], message: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = {key: value.format(there=tmp_path, run=run) for key, value in options.items()}
    node = {"_target_": "pytorch_lightning.loggers.CSVLogger", **given}
    with foreign(run / "config.yaml"):
        with pytest.raises(UserError, match=message):
            _check_place("csv", node, run)
        _check_place("csv", {**node, "save_dir": str(run / "here"), "name": "", "version": "0"}, run)


def test_a_stored_configuration_sends_only_to_the_users_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = {"_target_": "pytorch_lightning.loggers.MLFlowLogger", "tracking_uri": "http://theirs"}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"logger\.mlflow send to 'http://theirs': set MLFLOW_TRACKING_URI"):
        _check_place("mlflow", node, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://theirs")
    _check_place("mlflow", node, tmp_path)


def test_rows_of_every_logger_are_on_disk_before_a_checkpoint(tmp_path: Path) -> None:
    """A process that is killed after its checkpoint has lost no row that its resumed run does not log again."""
    found = make_loggers(plan("logger=[csv,tensorboard]"), tmp_path, None)
    for logger in found:
        logger.log_metrics({"train/loss": 0.5}, step=3)
    events = tmp_path / "tensorboard" / "version_0"
    before = sum(file.stat().st_size for file in events.glob("events*"))
    RowsBeforeCheckpoints().on_save_checkpoint(SimpleNamespace(loggers=found), None, {})  # type: ignore[arg-type]
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().split() == ["step,train/loss", "3,0.5"]
    assert sum(file.stat().st_size for file in events.glob("events*")) > before
