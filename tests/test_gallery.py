"""The gallery shows the pictures of its script, and no others."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "docs" / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_the_one_that_the_script_writes(gallery: ModuleType) -> None:
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page()


def test_every_picture_is_there_and_small(gallery: ModuleType) -> None:
    names = [shown.name for run in gallery.RUNS.values() for shown in run.pictures]
    assert len(names) == len(set(names)) >= 13
    assert {picture.stem for picture in gallery.PICTURES.iterdir()} == set(names)
    for name in names:
        assert (gallery.PICTURES / f"{name}.png").stat().st_size <= gallery.LARGEST


def test_a_reduced_picture_keeps_its_colours(gallery: ModuleType, tmp_path: Path) -> None:
    Image.new("RGB", (2000, 500), "#3f90da").save(tmp_path / "large.png")
    size = gallery.reduce(tmp_path / "large.png", tmp_path / "small" / "it.png")
    with Image.open(tmp_path / "small" / "it.png") as small:
        assert small.size == (1000, 250)
        assert small.convert("RGB").getpixel((500, 100)) == (0x3F, 0x90, 0xDA)
    assert size == (tmp_path / "small" / "it.png").stat().st_size
