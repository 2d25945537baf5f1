"""Choices of packages outside the project, given as a folder or installed."""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program_starts import Start, command

from tl_lab.cli import arguments
from tl_lab.config import catalogue, check, choices, compose, raise_if_wrong
from tl_lab.config.trust import known_targets
from tl_lab.data.scenarios.inner import inner_classes
from tl_lab.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "outside_package"
CONF = EXAMPLE / "outside_package" / "conf"
SMALL = ["data=stripes", "domain_adaptation=none", "trainer.max_epochs=1", "logger=none", "figures=false"]


@pytest.fixture(autouse=True)
def no_folder_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(catalogue.CONFIG_DIR, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))  # folders that tests make importable


def test_the_example_is_short() -> None:
    files = [file for file in EXAMPLE.rglob("*") if file.suffix in (".py", ".yaml", ".toml")]
    assert len(files) == 6
    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) < 80


def test_a_folder_adds_choices_while_it_is_used() -> None:
    before = choices("backbone")["backbone"]
    with catalogue.using([CONF]):
        assert choices("backbone")["backbone"] == {**before, "pooled": CONF / "backbone" / "pooled.yaml"}
        assert "outside_package.pooled.Pooled" in known_targets()
        assert inner_classes("stripes")[0].__name__ == "Stripes"
        with pytest.raises(UserError, match="did you mean 'pooled'"):
            arguments.check(["backbone=poled"], [])
    assert choices("backbone")["backbone"] == before
    assert "outside_package.pooled.Pooled" not in known_targets()
    assert compose(["backbone=pooled"], config_dir=CONF).backbone.width == 16


def test_an_existing_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "lenet.yaml").write_text("_target_: mine.LeNet\n")
    with catalogue.using([tmp_path]), pytest.raises(UserError, match="backbone=lenet already exists"):
        choices()


@pytest.mark.parametrize("folder", ["missing", "with:colon"])
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "with:colon").mkdir()
    with pytest.raises(UserError, match=f"--config-dir: .*{folder}"), catalogue.using([tmp_path / folder]):
        pass


def test_runs_inside_a_folder_add_no_choices(tmp_path: Path) -> None:
    """A folder given may hold outputs; what they name is not trusted for it."""
    for place in ("outputs/runs/a", "data/run", "data/run/deeper", "data/.hydra"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "other.yaml").write_text("_target_: os.system\n")
    for place in ("outputs/runs/a", "data/run"):
        (tmp_path / place / "config.yaml").write_text("_target_: os.system\n")
    with catalogue.using([tmp_path]):
        assert "os.system" not in known_targets()
        assert tmp_path not in {parent for file in choices("data")["data"].values() for parent in file.parents}


def test_folders_that_become_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_lab" / "conf").mkdir(parents=True)
    with catalogue.using([tmp_path / "my_lab" / "conf"]):
        assert sys.path[-2:] == [str(tmp_path / "my_lab" / "conf"), str(tmp_path / "my_lab")]
    (tmp_path / "my_lab" / "__init__.py").touch()
    with catalogue.using([tmp_path / "my_lab" / "conf"]):
        assert sys.path[-1] == str(tmp_path)


def test_a_package_without_init_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    package = tmp_path / "lab_no_init"
    (package / "conf").mkdir(parents=True)
    (package / "own.py").write_text("class Own: ...\n")
    node = {"part": {"_target_": "lab_no_init.own.Own"}}
    with catalogue.using([package / "conf"]):
        assert check(node) == [
            f"part._target_: 'lab_no_init.own.Own' does not exist: the folder {str(package)!r} has no __init__.py; "
            "create an empty one to make it a package"
        ]
    (package / "__init__.py").touch()
    with catalogue.using([package / "conf"]):
        assert check(node) == []
        misspelt = {"part": {"_target_": "lab_no_init.on.Own"}}
        assert check(misspelt) == ["part._target_: 'lab_no_init.on.Own' does not exist: 'lab_no_init' has no 'on'"]


def _distribution(site: Path, entry_points: str) -> None:
    (site / "lab" / "conf" / "backbone").mkdir(parents=True)
    (site / "lab" / "conf" / "backbone" / "own.yaml").write_text("# Mine\n_target_: lab.own.Own\n")
    (site / "lab-1.dist-info").mkdir()
    (site / "lab-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: lab\nVersion: 1\n")
    (site / "lab-1.dist-info" / "entry_points.txt").write_text(entry_points)


@pytest.mark.parametrize("declared", ["[tl_lab.conf]\nlab = lab.conf\n", "[tl_lab.backbones]\nown = lab.own:Own\n"])
def test_a_distribution_declares_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str) -> None:
    _distribution(tmp_path, declared)
    monkeypatch.syspath_prepend(str(tmp_path))
    catalogue._installed.cache_clear()
    try:
        assert choices("backbone")["backbone"]["own"] == tmp_path / "lab" / "conf" / "backbone" / "own.yaml"
        assert "lab.own.Own" in known_targets()
        assert compose(["backbone=own"]).backbone == {"_target_": "lab.own.Own"}
    finally:
        catalogue._installed.cache_clear()


@pytest.mark.parametrize(
    "declared",
    [
        "[tl_lab.conf]\nlab = nowhere.conf\n",
        "[tl_lab.backbones]\nother = lab.own:Own\n",
        "[tl_lab.bones]\nown = lab:O\n",
    ],
)
def test_an_entry_point_without_a_target_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str
) -> None:
    _distribution(tmp_path, declared)
    monkeypatch.syspath_prepend(str(tmp_path))
    catalogue._installed.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"of lab adds no choices: there is no"):
            assert "own" not in choices("backbone")["backbone"]
    finally:
        catalogue._installed.cache_clear()


def test_completion_uses_the_folder_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", f"python train.py --config-dir {CONF} backbone=po")
    assert arguments.config_dirs(["-sc", "query=bash"]) == [str(CONF)]
    assert arguments.config_dirs(["seed=1"]) == []


# ---------------------------------------------------------------------- the documented example


def _documented() -> dict[str, str]:
    """The files of the example in docs/extending.md, by their names."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- example: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL)
    assert len(found) == 4
    return dict(found)


def _written(folder: Path, files: dict[str, str]) -> Path:
    """Write a package ``my_lab``, and return its folder of choices."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "my_lab" / "__init__.py").touch()
    return folder / "my_lab" / "conf"


def test_the_page_shows_the_example() -> None:
    for name, text in _documented().items():
        own = EXAMPLE / name.replace("my_lab", "outside_package")
        assert text == own.read_text(encoding="utf-8").replace("outside_package", "my_lab")


def _train(folder: Path, conf: Path, *argv: str | Path) -> str:
    start = Start("--config-dir", str(conf), *SMALL, *map(str, argv), output=folder / "output.txt", cwd=folder)
    assert start.wait() == 0, start.printed
    return start.printed


def test_the_documented_data_set_and_backbone_train_with_the_runs_seed(tmp_path: Path) -> None:
    conf = _written(tmp_path, _documented())
    hashes = set()
    for seed in (0, 1):
        _train(tmp_path, conf, "backbone=pooled", f"seed={seed}", f"hydra.run.dir={seed}")
        results = json.loads((tmp_path / str(seed) / "results.json").read_text())
        assert results["status"] == "completed"
        hashes.add(results["data_hash"])
    assert len(hashes) == 2


OWN_OPTIONS = "seed: ${seed}\nbatch_size: 8\naugmentation: ${augmentation}\nevaluate: last\n"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "seed, batch_size, augmentation, evaluate"),
        ("evaluate: best\n", "seed, batch_size, augmentation"),
        (OWN_OPTIONS.replace("seed: ${seed}\n", ""), "seed"),
    ],
)
def test_data_that_ignore_the_seed_of_the_run_are_refused(tmp_path: Path, text: str, missing: str) -> None:
    """A file with only ``_target_`` would draw the same split with every seed."""
    target = "_target_: outside_package.stripes.Stripes\n"
    conf = _written(tmp_path, {"my_lab/conf/data/bare.yaml": target + text})
    with catalogue.using([CONF, conf]):  # the class is in the first one
        with pytest.raises(UserError) as refused:  # composing resolves ${data.evaluate}
            raise_if_wrong(compose(["data=bare", "backbone=lenet"]))
        file = conf / "data" / "bare.yaml"
        assert str(refused.value).startswith(f"data ({file}) lacks {missing}, which the run sets: begin the file with ")
        assert "'defaults: [_labelled, _self_]'" in str(refused.value)
        outer = compose(["data=split_digits", "data@data.of=bare"])
        found = [one for one in check(outer) if one.startswith("data.of (")]
        assert len(found) == ("seed" in missing)


@pytest.mark.parametrize("text", [OWN_OPTIONS, "defaults: [_labelled, _self_]\n"])
def test_data_with_the_options_of_the_run_are_accepted(tmp_path: Path, text: str) -> None:
    target = "_target_: outside_package.stripes.Stripes\n"
    conf = _written(tmp_path, {"my_lab/conf/data/whole.yaml": text + target})
    with catalogue.using([CONF]):
        cfg = compose(["data=whole", "backbone=lenet", "seed=7"], config_dir=conf)
        assert check(cfg) == []
        assert cfg.data.seed == 7


# ---------------------------------------------------------------------- whole runs


def _image(folder: Path) -> Path:
    folder.mkdir()
    Image.fromarray(np.tile(np.array([[0, 255]], dtype=np.uint8), (8, 4))).save(folder / "a.png")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a wheel, built from a copy without a network and unpacked as an installer would."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or later builds the wheel")
    work = tmp_path_factory.mktemp("build") / "package"
    shutil.copytree(EXAMPLE, work, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    place = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(place)
    return place


@contextlib.contextmanager
def _installed(site: Path) -> Iterator[None]:
    """Let this process, and those forked from it, find the installed package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
        catalogue._installed.cache_clear()
        yield
    catalogue._installed.cache_clear()


@pytest.mark.slow
def test_an_installed_package_is_listed_trained_swept_and_predicts(site: Path, tmp_path: Path) -> None:
    _image(tmp_path / "images")
    sweep = ["-m", *SMALL, "backbone=pooled,lenet", "hydra.launcher.jobs=2", "hydra.sweep.dir=sweep"]
    with _installed(site):
        listed = command("list", "backbone", "--plain", cwd=tmp_path)
        swept = command("train", *sweep, cwd=tmp_path)
        result = command("predict", "sweep/0", "images", cwd=tmp_path)
    assert "backbone\tpooled\tOne convolution, averaged over the image" in listed.stdout, listed.stderr
    assert swept.returncode == 0, swept.stderr
    with (tmp_path / "sweep" / "results.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed", "completed"]
    assert result.returncode == 0, result.stderr
    refused = command("predict", "sweep/0", "images", cwd=tmp_path)
    assert refused.returncode == 1
    assert "call 'outside_package.pooled.Pooled'" in refused.stderr


@pytest.mark.slow
def test_a_folder_trains_sweeps_by_joblib_and_is_asked_for(tmp_path: Path) -> None:
    given = ("--config-dir", str(CONF))
    sweep = ["-m", *SMALL, "backbone=pooled", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    swept = command("train", *given, *sweep, "hydra.sweep.dir=sweep", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert swept.returncode == 0, swept.stdout + swept.stderr
    with (tmp_path / "sweep" / "results.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["completed", "completed"]
    _image(tmp_path / "images")
    for argv in (["predict", "sweep/0", "images"], ["train", "resume=sweep/0"]):
        refused = command(*argv, cwd=tmp_path)
        assert refused.returncode == 1
        assert f"give --config-dir {CONF} (the run was made with it)" in refused.stderr
        assert command(*argv, *given, cwd=tmp_path).returncode == 0
