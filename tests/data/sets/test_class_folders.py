"""Folders with one sub-folder per class, read by the same rules whatever their files are."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composing import run_in
from PIL import Image

from tl_lab.data.sets.audio_folder import AudioFolder, AudioFolderPair
from tl_lab.data.sets.class_folders import FolderPair
from tl_lab.data.sets.image_folder import ImageFolder, ImageFolderPair
from tl_lab.data.sets.text_folder import TextFolder, TextFolderPair
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

Write = Callable[[Path, int], None]


def _image(path: Path, number: int) -> None:
    Image.new("RGB", (4, 4), (number % 256, number // 256, 0)).save(path.with_suffix(".png"))


def _text(path: Path, number: int) -> None:
    path.with_suffix(".txt").write_text(f"text number {number}")


def _sound(path: Path, number: int) -> None:
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.full(400, number, "<i2").tobytes())


KINDS: dict[str, tuple[Write, Any, Any, str]] = {
    "images": (_image, ImageFolder, ImageFolderPair, "root"),
    "texts": (_text, TextFolder, TextFolderPair, "path"),
    "recordings": (_sound, AudioFolder, AudioFolderPair, "path"),
}
kinds = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


def write(kind: str, folder: Path, counts: dict[str, int], first: int = 0) -> int:
    """Write files with different content in class folders; return the number that follows."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            KINDS[kind][0](folder / name / f"{number:03}", number)
        first += count
    return first


def sizes(data: Any) -> dict[str, int]:
    return {name: len(samples) for name, samples in data.sets.items()}


def read_set(kind: str, folder: Path, **options: Any) -> Any:
    data = KINDS[kind][1](**{KINDS[kind][3]: str(folder)}, **options)
    data.load()
    return data


def read_pair(kind: str, folder: Path, **options: Any) -> FolderPair:
    data: FolderPair = KINDS[kind][2](source=str(folder / "source"), target=str(folder / "target"), **options)
    data.load()
    return data


@kinds
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": 10}, {"train": 14, "val": 2, "test": 4}),
        ({"train": 10, "val": 3}, {"train": 16, "val": 6, "test": 4}),  # never classes named train and val
        ({"train": 10, "validation": 3, "test": 2}, {"train": 20, "val": 6, "test": 4}),
        ({"train": 2, "test": 2}, {"train": 2, "val": 2, "test": 4}),  # two of a class suffice for two parts
    ],
)
def test_parts_given_as_folders_are_never_classes(
    kind: str, parts: dict[str, int], expected: dict[str, int], tmp_path: Path
) -> None:
    first = 0
    for part, count in parts.items():
        first = write(kind, tmp_path / part, {"ant": count, "bee": count}, first)
    data = read_set(kind, tmp_path)
    assert data.class_names == ["ant", "bee"]
    assert sizes(data) == expected


@kinds
def test_classes_may_be_named_like_parts(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path, {"train": 10, "bus": 10})
    assert read_set(kind, tmp_path).class_names == ["bus", "train"]
    write(kind, tmp_path / "only", {"train": 10, "test": 10})
    assert read_set(kind, tmp_path / "only", split="random").class_names == ["test", "train"]
    write(kind, tmp_path / "plain", {"ant": 9, "bee": 9})
    with pytest.raises(UserError, match=r"data\.split=given, but .* has no folder 'train': it has ant, bee"):
        read_set(kind, tmp_path / "plain", split="given")


@kinds
def test_folders_beside_the_parts_of_a_split_are_ambiguous(kind: str, tmp_path: Path) -> None:
    first = write(kind, tmp_path / "train", {"ant": 9, "bee": 9})
    write(kind, tmp_path / "test", {"ant": 2, "bee": 2}, first)
    (tmp_path / "models").mkdir()
    with pytest.raises(UserError, match=r"has the folders test, train, and also models: set data\.split=given to read"):
        read_set(kind, tmp_path)
    assert read_set(kind, tmp_path, split="given").class_names == ["ant", "bee"]


@kinds
def test_files_of_other_kinds_are_ignored_and_counted(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path, {"ant": 9, "bee": 9})
    (tmp_path / "ant" / "notes.doc").write_text("nothing")
    (tmp_path / "__MACOSX").mkdir()
    for name in ("ant/._000.png", "ant/._000.txt", "ant/._000.wav"):  # which macOS adds to archives
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07")
    KINDS[kind][0](tmp_path / "loose", 99)
    data = read_set(kind, tmp_path)
    assert sum(sizes(data).values()) == 18
    assert any(f"ignored 1 file other than {kind} (1 .doc)" in note for note in data.notes)
    assert any(f"ignored 1 {kind[:-1]} outside the class folders" in note for note in data.notes)


@kinds
def test_what_cannot_be_read_is_one_sentence(kind: str, tmp_path: Path) -> None:
    name = KINDS[kind][3]
    with pytest.raises(UserError, match=rf"data\.{name} is not set: give the folder with the {kind}"):
        KINDS[kind][1]().load()
    with pytest.raises(UserError, match=rf"data\.{name}=.*none is not a folder$"):
        read_set(kind, tmp_path / "none")
    with pytest.raises(UserError, match=rf"data\.{name}: .* has no class folders: expected .*CLASS"):
        read_set(kind, tmp_path)
    write(kind, tmp_path, {"ant": 9, "bee": 9})
    (tmp_path / "cow").mkdir()
    with pytest.raises(UserError, match=rf"1 of the 3 class folders in .* contain no {kind} \(cow\): add {kind} \(\."):
        read_set(kind, tmp_path)
    write(kind, tmp_path / "cut" / "train", {"ant": 9, "bee": 9})
    write(kind, tmp_path / "cut" / "test", {"ant": 2, "bees": 2})
    with pytest.raises(UserError, match=r"not among the 2 of training \(bees\): .*did you mean 'bee'"):
        read_set(kind, tmp_path / "cut")


# ---------------------------------------------------------------------- pairs


@kinds
def test_a_pair_matches_classes_by_name(kind: str, tmp_path: Path) -> None:
    first = write(kind, tmp_path / "source", {"ant": 20, "bee": 20, "cow": 20})
    write(kind, tmp_path / "target", {"cow": 10, "bee": 20, "dog": 10}, first)
    with pytest.warns(UserWarning, match=rf"1 class that the source lacks \(dog\): their {kind} stay in the training"):
        data = read_pair(kind, tmp_path)
    assert data.class_names == ["ant", "bee", "cow"]
    assert sizes(data) | {"target/test": 0} == {
        "source/train": 42, "source/val": 6, "source/test": 12, "target/train": 28, "target/test": 0,
    }  # fmt: skip
    assert data.sets["target/train"].y is None
    y = data.sets["target/test"].y
    assert y is not None
    assert set(y.tolist()) == {1, 2}
    assert any(f"no {kind} of 1 of the 4 classes (ant)" in note for note in data.notes)


@kinds
def test_a_target_without_classes_is_not_scored_unless_its_test_has_them(kind: str, tmp_path: Path) -> None:
    first = write(kind, tmp_path / "source", {"ant": 9, "bee": 9})
    (tmp_path / "target").mkdir()
    for number in range(first, first + 12):
        KINDS[kind][0](tmp_path / "target" / f"{number}", number)
    data = read_pair(kind, tmp_path)
    assert data.test_names == ["source/test"]
    assert any(f"12 {kind} without class folders, so the target is not scored" in note for note in data.notes)
    (tmp_path / "target").rename(tmp_path / "flat")
    write(kind, tmp_path / "target" / "val", {"ant": 1, "bee": 1}, 200)
    (tmp_path / "flat").rename(tmp_path / "target" / "train")
    write(kind, tmp_path / "target" / "test", {"ant": 3, "bee": 4}, 100)
    data = read_pair(kind, tmp_path)
    assert sizes(data)["target/train"] == 12
    y = data.sets["target/test"].y
    assert y is not None
    assert y.tolist() == [0] * 3 + [1] * 4
    assert any("val: unused, because target labels are used only for the score" in note for note in data.notes)


@kinds
def test_several_sources_are_combined(kind: str, tmp_path: Path) -> None:
    first = write(kind, tmp_path / "one", {"ant": 10, "bee": 10})
    first = write(kind, tmp_path / "two", {"bee": 10, "cow": 10}, first)
    write(kind, tmp_path / "target", {"ant": 10, "bee": 10, "cow": 10}, first)
    data = KINDS[kind][2](source=[str(tmp_path / "one"), str(tmp_path / "two")], target=str(tmp_path / "target"))
    data.load()
    assert data.class_names == ["ant", "bee", "cow"]
    whole = torch.cat([data.sets[f"source/{part}"].y for part in ("train", "val", "test")])
    assert torch.bincount(whole).tolist() == [10, 20, 10]
    with pytest.raises(UserError, match=r"data\.source and data\.target are both"):
        KINDS[kind][2](source=str(tmp_path / "one"), target=str(tmp_path / "one")).load()


def test_recordings_of_two_microphones_are_adapted(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    time = np.arange(800) / 8000
    for domain, loudness in (("source", 8000), ("target", 500)):
        for name, hertz in (("high", 2000), ("low", 300)):
            (tmp_path / domain / name).mkdir(parents=True)
            for number in range(20):
                with wave.open(str(tmp_path / domain / name / f"{number}.wav"), "wb") as file:
                    file.setparams((1, 2, 8000, 0, "NONE", ""))
                    samples = np.sin(2 * np.pi * (hertz + 5 * number) * time) + draw.normal(scale=0.1, size=800)
                    file.writeframes((loudness * samples).astype("<i2").tobytes())
    words = ["data=audio_folder_pair", f"data.source={tmp_path / 'source'}", f"data.target={tmp_path / 'target'}"]
    small = ["backbone=audio_cnn", "backbone.widths=[4,8]", "backbone.bands=8", "domain_adaptation=dann"]
    quiet = ["logger=none", "figures=false", "health=false", "data.batch_size=8", "trainer.max_epochs=4"]
    found = run_in(tmp_path / "run", *words, *small, *quiet, "optimizer.lr=0.01")
    assert found["metrics"]["test/source/acc"] == 1.0
    assert 0 <= found["metrics"]["test/target/acc"] <= 1  # it is scored
