"""Names that an untrusted saved configuration may use."""

import functools
import sys

import pytest
from omegaconf import OmegaConf

from tl_lab import __main__
from tl_lab.cli import train as cli
from tl_lab.config import choices, compose
from tl_lab.config.trust import ALLOW, check_foreign, known_targets
from tl_lab.errors import UserError

EVIL = {"_target_": "os.system", "command": "true"}


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch):
    monkeypatch.delenv(ALLOW, raising=False)


def test_the_list_is_that_of_the_projects_own_files():
    assert {"torch.optim.Adam", "pytorch_lightning.Trainer", "tl_lab.domain_adaptation.dann.DANN"} <= known_targets()
    # of the packages of the classes above nothing else, and nothing that starts jobs
    assert not any(name.startswith(("torch.optim.LB", "hydra", "os", "builtins")) for name in known_targets())


@pytest.mark.parametrize("group", ["backbone", "data", "domain_adaptation", "strategy", "trainer", "validator"])
def test_locally_composed_configurations_are_trusted(group):
    for name in choices(group)[group]:
        check_foreign(compose([f"{group}={name}"]), "config.yaml")


@pytest.mark.parametrize(
    "cfg",
    [
        {"data": EVIL},
        {"strategy": {"_target_": "torch.optim.Adam", "params": [{"deep": [EVIL]}]}},
        {"backbone": {"hydra": EVIL}},
        {"hydra": EVIL},
        {"validator": {"a": {"_partial_": True, **EVIL}}},
    ],
)
def test_other_names_are_refused_at_any_depth(cfg):
    with pytest.raises(
        UserError, match=r"^a\.yaml would import and call 'os\.system', which no known configuration file"
    ):
        check_foreign(OmegaConf.create(cfg), "a.yaml")


def test_references_are_refused_and_not_resolved():
    for cfg in ({"name": "tl_lab.data.sets.moons.Moons", "data": {"_target_": "${name}"}}, {"a": ["${oc.env:HOME}"]}):
        with pytest.raises(UserError, match=r"^a\.yaml (would import and call|contains the reference) '\$\{"):
            check_foreign(OmegaConf.create(cfg), "a.yaml")


@pytest.mark.parametrize(
    "name", ["torch.optim.Adagrad", "torch.optim.Adam.step", "tl_lab.config.compose", "torch.hub.load"]
)
def test_names_are_exact(name):
    with pytest.raises(UserError, match="no known configuration file"):
        check_foreign({"part": {"_target_": name}}, "a.yaml")


def test_names_are_allowed_individually(monkeypatch):
    cfg = {"a": {"_target_": "mine.Thing"}, "b": {"_target_": "mine.Other"}}
    with pytest.raises(UserError, match=rf"'mine\.Other'.*{ALLOW}=mine\.Other"):
        check_foreign(cfg, "a.yaml", allow=["mine.Thing"])
    monkeypatch.setenv(ALLOW, "mine.Thing, mine.Other")
    check_foreign(cfg, "a.yaml")


def _folder(tmp_path, part):
    """A run's folder whose configuration would import a module that leaves a trace."""
    tmp_path.joinpath("trap.py").write_text("from pathlib import Path\nPath('trapped').touch()\nclass Trap: pass\n")
    cfg = compose(["data=digits", "domain_adaptation=none"])
    cfg[part] = {"_target_": "trap.Trap"}
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    (run / "results.json").write_text('{"schema": 1, "status": "completed", "metrics": {}}')
    (run / "checkpoints").mkdir()
    for name in ("last", "best"):
        (run / "checkpoints" / f"{name}.ckpt").write_bytes(b"")
    return run


@pytest.mark.parametrize("command", ["resume", "reproduce", "predict"])
def test_every_way_to_a_foreign_folder_refuses(command, tmp_path, monkeypatch, capsys):
    run = _folder(tmp_path, "backbone")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    inputs = [str(tmp_path)] if command == "predict" else []
    start = (
        functools.partial(cli.main, [f"resume={run}"])
        if command == "resume"
        else functools.partial(__main__.main, [command, str(run), *inputs])
    )
    with pytest.raises(SystemExit) as end:
        start()
    assert end.value.code == 1
    assert "call 'trap.Trap'" in capsys.readouterr().err
    assert not (tmp_path / "trapped").exists()
    assert "trap" not in sys.modules
