"""Content of an installed package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the repository and unpack it, as an installer would."""
    pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or later builds the wheel")
    work = tmp_path_factory.mktemp("build")
    for name in ("tl_lab", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", work)
    readme = ROOT / "README.md"
    (work / "README.md").write_text(readme.read_text(encoding="utf-8") if readme.exists() else "", encoding="utf-8")
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=work, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    return site


def _run(installed: Path, cwd: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "tl_lab", *argv]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=120)


def test_a_wheel_holds_every_module_and_every_choice(installed: Path) -> None:
    def names(folder: Path, pattern: str) -> set[str]:
        return {str(file.relative_to(folder)) for file in folder.rglob(pattern)}

    assert names(ROOT / "conf", "*.yaml") == names(installed / "tl_lab" / "conf", "*.yaml")
    modules = {name for name in names(installed / "tl_lab", "*.py") if not name.startswith("conf/")}
    assert names(ROOT / "tl_lab", "*.py") == modules
    assert names(ROOT / "tl_lab", "*.json") == names(installed / "tl_lab", "*.json")
    assert names(ROOT / "hydra_plugins", "*.py") == names(installed / "hydra_plugins", "*.py")


def test_an_installed_package_finds_its_choices(installed: Path, tmp_path: Path) -> None:
    listed = _run(installed, tmp_path, "list", "backbone", "--plain")
    assert listed.returncode == 0, listed.stderr
    assert "backbone\tlenet\t" in listed.stdout
    shown = _run(installed, tmp_path, "train", "--cfg", "job", "-p", "seed")
    assert (shown.returncode, shown.stdout) == (0, "0\n")
    where = _run(installed, tmp_path, "train", "--info", "searchpath")
    assert str(installed / "tl_lab" / "conf") in where.stdout
    assert _run(installed, tmp_path, "--version").stdout.startswith("tl_lab ")
