"""Untrusted run folders are read as data: nothing that their files name is imported or called."""

import contextlib
import copy
import importlib
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import tl_lab
from tl_lab import __main__
from tl_lab.backbones.mlp import MLP
from tl_lab.cli import train as cli
from tl_lab.config import compose
from tl_lab.config.instantiate import build_node, foreign
from tl_lab.config.stored import read_stored, read_yaml
from tl_lab.config.trust import ALLOW
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.results.folder.files import read_results
from tl_lab.results.tables.collecting import collect, expected_of
from tl_lab.run.checkpoints import checkpoint_of, read_checkpoint
from tl_lab.sweeps.folder import check_unchanged, earlier_runs, pick

MARK = "ran"


class _Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {MARK}",))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a right run, files that run code when they are unpickled, and a module that does when imported."""
    place = tmp_path_factory.mktemp("foreign")
    (place / "trap_module.py").write_text(f"from pathlib import Path\nPath({MARK!r}).touch()\nclass Trap: pass\n")
    (place / "evil.pkl").write_bytes(pickle.dumps(_Touch()))
    (place / "evil.pt").write_bytes(pickle.dumps(_Touch(), protocol=2))
    np.save(place / "evil.npy", np.array([_Touch()], dtype=object), allow_pickle=True)
    options = ["data=digits", "domain_adaptation=none", "backbone=mlp", "backbone.hidden=[4]", "logger=none"]
    cfg = compose([*options, "strategy.head.hidden=[]", "strategy.bottleneck=null"])
    run = place / "right"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    (run / "results.json").write_text('{"schema": 1, "status": "completed", "metrics": {}, "seed": 0}')
    network = Network(MLP([4], in_channels=1, input_size=(8, 8)), 2)
    facts = {"shape": [1, 8, 8], "class_names": ["a", "b"], "preprocessing": {"size": [8, 8], "channels": 1}}
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name in ("last", "best"):
        content = {"state_dict": weights, "updates_done": 1, "model": facts}
        torch.save(content, run / "checkpoints" / f"{name}.ckpt")
    return place


@pytest.fixture(autouse=True)
def alone(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW, raising=False)
    monkeypatch.chdir(base)
    monkeypatch.syspath_prepend(str(base))


# ---------------------------------------------------------------------- what would run code

TOUCH = {"_target_": "os.system", "command": f"touch {MARK}"}
TRAP = {"_target_": "trap_module.Trap"}  # which Hydra itself does not refuse
SINKS: dict[str, dict[str, Any]] = {
    "os.system": TOUCH,
    "os.popen": {"_target_": "os.popen", "cmd": f"touch {MARK}"},
    "posix.system": {"_target_": "posix.system", "command": f"touch {MARK}"},
    "subprocess.run": {"_target_": "subprocess.run", "args": ["touch", MARK]},
    "subprocess.check_output": {"_target_": "subprocess.check_output", "_args_": [["touch", MARK]]},
    "builtins.eval": {"_target_": "builtins.eval", "_args_": [f"open({MARK!r}, 'w').close()"]},
    "builtins.exec": {"_target_": "builtins.exec", "_args_": [f"open({MARK!r}, 'w').close()"]},
    "builtins.open": {"_target_": "builtins.open", "file": MARK, "mode": "w"},
    "functools.reduce": {
        "_target_": "functools.reduce",
        "_args_": [{"_target_": "hydra.utils.get_method", "path": "os.open"}, [MARK, os.O_CREAT]],
    },
    "hydra.utils.call": {"_target_": "hydra.utils.call", "_recursive_": False, "config": TRAP},
    "hydra.utils.instantiate": {"_target_": "hydra.utils.instantiate", "_recursive_": False, "config": TRAP},
    "pandas.read_pickle": {"_target_": "pandas.read_pickle", "filepath_or_buffer": "evil.pkl"},
    "torch.load": {"_target_": "torch.load", "f": "evil.pt", "weights_only": False},
    "numpy.load": {"_target_": "numpy.load", "file": "evil.npy", "allow_pickle": True},
    "joblib.load": {"_target_": "joblib.load", "filename": "evil.pkl"},
    "importlib.import_module": {"_target_": "importlib.import_module", "name": "trap_module"},
    "a module's import": TRAP,
    "shutil.copy": {"_target_": "shutil.copy", "src": "evil.pkl", "dst": MARK},
}


def _plain(text: str) -> Any:
    return yaml.load(text, yaml.CSafeLoader)


def _call(node: Any) -> Any:
    """Do what an unchecked instantiation would."""
    if isinstance(node, list):
        return [_call(item) for item in node]
    if not isinstance(node, dict) or "_target_" not in node:
        return node
    module, _, name = node["_target_"].rpartition(".")
    target = getattr(importlib.import_module(module), name)
    build = _call if node.get("_recursive_", True) else (lambda value: value)
    given = {key: build(value) for key, value in node.items() if not key.startswith("_")}
    return target(*build(node.get("_args_", [])), **given)


def _clean() -> None:
    Path(MARK).unlink(missing_ok=True)
    sys.modules.pop("trap_module", None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sink", SINKS)
def test_each_payload_would_leave_a_file(sink: str) -> None:
    """Otherwise the tests below could not fail."""
    _clean()
    with contextlib.suppress(RuntimeError, pickle.UnpicklingError):  # after the payload ran
        opened = _call(copy.deepcopy(SINKS[sink]))
        if hasattr(opened, "close"):
            opened.close()  # a pipe's waits for its command
    assert Path(MARK).exists()
    _clean()


# ---------------------------------------------------------------------- where it can stand


def _at(path: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    def put(cfg: dict[str, Any], payload: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        node = cfg
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = payload

    return put


def _listed(path: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    put = _at(path)
    return lambda cfg, payload: put(cfg, [[{"deep": payload}]])  # type: ignore[arg-type]


PLACES: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    **{path: _at(path) for path in ("backbone", "strategy", "data", "domain_adaptation", "optimizer", "scheduler")},
    **{path: _at(path) for path in ("hydra", "backbone.hydra", "backbone.hydra.hydra", "strategy.hydra", "data.hydra")},
    **{path: _at(path) for path in ("backbone.activation", "backbone.hidden", "strategy.head", "strategy.head.hidden")},
    **{path: _at(path) for path in ("strategy.layers", "strategy.bottleneck", "optimizer.lr", "trainer.plugins")},
    **{path: _at(path) for path in ("callbacks.mine", "validator.mine", "data.augmentation", "extra", "seed")},
    **{path: _at(path) for path in ("logger.mine", "logger.csv.save_dir", "logger.mode", "adapter", "augmentation")},
    **{path: _at(path) for path in ("backbone.weights", "backbone.name", "init_from", "assess", "update", "sweep.x")},
    **{f"{path}[]": _listed(path) for path in ("backbone.hidden", "trainer.callbacks", "data.transforms", "tags")},
}


TRICKS: dict[str, str] = {
    "interpolated target": "backbone: {_target_: '${name}', command: touch ran}\nname: os.system\n",
    "resolved target": "backbone: {_target_: '${oc.env:EVIL}', command: touch ran}\n",
    "target of the choices": "backbone: {_target_: '${hydra:runtime.choices.backbone}', command: touch ran}\n",
    "alias": "x: &a {_target_: os.system, command: touch ran}\nbackbone: *a\n",
    "merged anchor": "x: &a {_target_: os.system, command: touch ran}\nbackbone: {<<: *a}\n",
    "escaped key": 'backbone: {"\\x5ftarget_": os.system, command: touch ran}\n',
    "python tag": "backbone: !!python/object/apply:os.system ['touch ran']\n",
    "python name": "backbone: {_target_: !!python/name:os.system '', command: touch ran}\n",
    "resolver elsewhere": "name: '${oc.env:HOME}'\n",
    "method of a known class": "backbone: {_target_: pytorch_lightning.Trainer.fit}\n",
    "prefix of a known class": "backbone: {_target_: tl_lab.backbones.mlp}\n",
    "blanks": "backbone: {_target_: ' os.system', command: touch ran}\n",
    "list as target": "backbone: {_target_: [os.system], command: touch ran}\n",
}


# ---------------------------------------------------------------------- the ways in


def _main(*argv: str) -> None:
    with pytest.raises(SystemExit) as end:
        __main__.main(argv)
    assert end.value.code == 1


def _resume(run: Path) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([f"resume={run}"])
    assert end.value.code == 1


def _report(run: Path) -> None:
    runs = collect([run])
    expected_of(runs)
    pick(earlier_runs(run.parent).get("None", ()), {}, run)


def _init_from(run: Path) -> None:
    read_checkpoint(checkpoint_of(run))
    read_stored(run)


def _build(run: Path) -> None:
    """Build every node of the file with the check of the moment only, whatever reading it would have refused."""
    content = _plain((run / "config.yaml").read_text())
    with foreign(run / "config.yaml"):
        for node in content.values():
            if isinstance(node, dict):
                build_node(node)


# what reads a part of the file may do its work where the payload stands in another
READING = {"load": tl_lab.load, "report": _report, "init_from": _init_from, "build": _build}
RUNNING = {
    "resume": _resume,
    "reproduce": lambda run: _main("reproduce", str(run), "--output", f"{run}-again"),
    "figures": lambda run: _main("figures", str(run)),
    "predict": lambda run: _main("predict", str(run), "nowhere.csv"),
}


def _folder(base: Path, text: str) -> Path:
    run = base / "tried"
    shutil.rmtree(run, ignore_errors=True)
    shutil.rmtree(f"{run}-again", ignore_errors=True)
    shutil.copytree(base / "right", run)
    (run / "config.yaml").write_text(text)
    return run


def _payload(base: Path, sink: str, place: str) -> str:
    content = _plain((base / "right" / "config.yaml").read_text())
    PLACES[place](content, copy.deepcopy(SINKS[sink]))
    return yaml.dump(content, sort_keys=False, Dumper=_NoAliases)


class _NoAliases(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _tried(base: Path, way: Callable[[Path], Any], text: str) -> None:
    _clean()
    run = _folder(base, text)
    try:
        way(run)
    except UserError:
        pass
    except (TypeError, ValueError) as error:  # a class that is known was given values that it does not take
        if way is not _build:
            raise AssertionError("no sentence") from error
    assert not Path(MARK).exists()
    assert "trap_module" not in sys.modules


_FIXED = {"derandomize": True, "deadline": None, "database": None}
_SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def test_an_unmodified_folder_loads(base: Path) -> None:
    """Otherwise a payload might never have been reached."""
    assert tl_lab.load(base / "right").predict(torch.zeros(2, 1, 8, 8)).probabilities.shape == (2, 2)
    assert len(collect([base / "right"])) == 1


@settings(max_examples=90, suppress_health_check=_SHARED, **_FIXED)
@given(st.sampled_from(sorted(READING)), st.sampled_from(sorted(SINKS)), st.sampled_from(sorted(PLACES)))
def test_reading_a_folder_runs_nothing(base: Path, way: str, sink: str, place: str) -> None:
    _tried(base, READING[way], _payload(base, sink, place))


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("way", READING)
def test_no_spelling_passes_the_check(base: Path, way: str, trick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVIL", "os.system")
    content = _plain((base / "right" / "config.yaml").read_text())
    names = {line.partition(":")[0] for line in TRICKS[trick].splitlines()}
    rest = yaml.dump({key: value for key, value in content.items() if key not in names}, sort_keys=False)
    try:
        _tried(base, READING[way], rest + TRICKS[trick])
    except yaml.YAMLError:
        assert way == "build"  # by the test's own safe loader


@settings(max_examples=16, suppress_health_check=_SHARED, **_FIXED)
@given(st.sampled_from(sorted(RUNNING)), st.sampled_from(sorted(SINKS)), st.sampled_from(sorted(PLACES)))
def test_resuming_a_foreign_folder_is_refused(base: Path, way: str, sink: str, place: str) -> None:
    _tried(base, RUNNING[way], _payload(base, sink, place))


# ---------------------------------------------------------------------- beside classes


def test_no_resolver_runs_on_foreign_text(base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SECRET", "the secret word")
    text = (base / "right" / "config.yaml").read_text().replace("tags: []", "tags: ['${oc.env:SECRET}']")
    run = _folder(base, text)
    (run / ".hydra").mkdir()
    (run / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {data: '${oc.env:SECRET}'}}}\n")
    for way in (_resume, tl_lab.load, checkpoint_of, read_stored):
        with contextlib.suppress(UserError):
            way(run)
    (run / "config.yaml").write_text((base / "right" / "config.yaml").read_text())
    _resume(run)  # the right configuration, whose results lack what a report needs
    printed = "".join(capsys.readouterr())
    assert "secret word" not in printed + "".join(file.read_text() for file in run.rglob("*.json"))


def test_overrides_of_a_foreign_sweep_call_no_resolver(base: Path) -> None:
    run = _folder(base, (base / "right" / "config.yaml").read_text())
    (run / "results.json").write_text('{"schema": 1, "status": "completed", "config_hash": "0"}')
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("- name=${oc.env:HOME}\n")
    with pytest.raises(UserError, match="calls a resolver"):
        check_unchanged(run, [])


@pytest.mark.parametrize("evaluate", ["../../elsewhere", "{a: 1}", "'${oc.env:HOME}'"])
def test_a_checkpoint_is_in_the_runs_folder(base: Path, evaluate: str) -> None:
    run = _folder(base, "evaluate: " + evaluate + "\nstrategy: {}\n")
    with pytest.raises(UserError, match=r"not the configuration of a run|contains the reference"):
        checkpoint_of(run)


def test_a_stored_head_contains_only_numbers(base: Path) -> None:
    for wrong in ({"_target_": "torch.nn.Linear"}, {"hidden": "x"}, {"dropout": None}, {"seed": 3}):
        content = _plain((base / "right" / "config.yaml").read_text())
        content["strategy"]["head"] = wrong
        with pytest.raises(UserError, match="hidden and dropout only"):
            tl_lab.load(_folder(base, yaml.dump(content)))


BOMBS = {
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "depth": "a: " + "[" * 200_000,
    "length": "a: " + "x" * 2**21,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_expanding_file_is_refused(base: Path, bomb: str) -> None:
    run = _folder(base, BOMBS[bomb])
    for read in (read_stored, lambda folder: read_yaml(folder / "config.yaml")):
        with pytest.raises(UserError, match=r"config\.yaml"):
            read(run)


@pytest.mark.parametrize("name", ["config.yaml", "results.json", "metrics.csv", "checkpoints/best.ckpt"])
def test_a_pipe_in_place_of_a_file_does_not_hang(base: Path, name: str) -> None:
    run = _folder(base, (base / "right" / "config.yaml").read_text())
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)

    def read() -> None:
        for way in (read_results, tl_lab.load, _report):
            with contextlib.suppress(UserError):
                way(run)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(60)
    assert not reader.is_alive()


def test_a_pipe_for_an_image_is_refused(base: Path) -> None:
    (base / "images").mkdir()
    os.mkfifo(base / "images" / "a.png")
    with pytest.raises(UserError, match=r"cannot be read: a\.png \(not a regular file\)"):
        tl_lab.load(base / "right").predict(base / "images")
