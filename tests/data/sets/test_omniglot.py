"""Omniglot: its files, splits and rotations of characters, and messages for incomplete files."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tl_lab.data.sets import omniglot
from tl_lab.data.sets.omniglot import VALIDATION_ALPHABETS, Omniglot, omniglot_characters, split_characters, turned
from tl_lab.errors import UserError

_DATA = os.environ.get("TL_LAB_DATA", "")
SIZES = {"train": {"way": 5, "shot": 1, "queries": 5}, "test": {"way": 5, "shot": 1, "queries": 5}}


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """All 1,623 characters: ink in the upper left quarter, and in the first drawing of each in one pixel less."""
    folder = tmp_path_factory.mktemp("data") / "omniglot-py"
    folder.mkdir()
    page = np.full((56, 56), 255, np.uint8)
    page[:28, :28] = 0
    other = page.copy()
    other[0, 0] = 255
    drawings = [png(other)] + [png(page)] * 19
    for part, numbers in (("images_background", range(1, 965)), ("images_evaluation", range(965, 1624))):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for number in numbers:
                alphabet = "Hebrew" if number <= 22 else "Latin" if number < 965 else "Angelic"
                for drawer, content in enumerate(drawings, 1):
                    path = f"{part}/{alphabet}/character{number % 100:02d}/{number:04d}_{drawer:02d}.png"
                    archive.writestr(path, content)
    return folder.parent


@pytest.fixture(scope="module")
def characters(made, tmp_path_factory):
    return omniglot_characters(made, tmp_path_factory.mktemp("cache"))


def test_ink_is_white_small_and_in_order(characters):
    assert characters.images.shape == (32_460, 1, 28, 28)
    assert torch.equal(characters.labels, torch.arange(1623).repeat_interleave(20))
    assert characters.numbers.tolist() == list(range(1, 1624))
    first, second = characters.images[40, 0], characters.images[41, 0]
    assert (second[:14, :14] == 255).all()
    assert second.float().sum() == 14 * 14 * 255
    assert int(first[0, 0]) == pytest.approx(255 * 3 / 4, abs=1)  # one of the four pixels that fall together is white
    assert torch.equal(first.flatten()[1:], second.flatten()[1:])


def test_splits(characters):
    usual, alphabets = (split_characters(characters, split) for split in ("vinyals", "alphabets"))
    assert usual["val"].tolist() == alphabets["val"].tolist() == list(range(22))  # Hebrew
    assert usual["test"].tolist() == list(range(1200, 1623))
    assert alphabets["test"].tolist() == list(range(964, 1623))
    for parts in (usual, alphabets):
        assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(1623))
    with pytest.raises(UserError, match="'vinyals' or 'alphabets', not 'random'"):
        split_characters(characters, "random")


def test_quarter_rotations_are_classes(characters):
    samples, names = turned(characters, torch.tensor([3, 7]), 4)
    assert names[:2] == [characters.names[3], characters.names[7]]
    assert names[5] == f"{characters.names[7]} 180°"
    assert torch.bincount(samples.y).tolist() == [20] * 8
    upright = characters.images[characters.labels == 7]
    for k in range(4):
        expected = np.rot90(upright.numpy(), k, (2, 3))
        assert np.array_equal(samples.x[samples.y == 2 * k + 1].numpy(), expected)
    corners = [samples.x[samples.y == 2 * k][1, 0][::27, ::27] for k in range(4)]  # ink moves around to the left
    assert [corner.bool().int().tolist() for corner in corners] == [
        [[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 0], [0, 1]], [[0, 1], [0, 0]],
    ]  # fmt: skip


def test_unpacked_folders_are_read_like_zips(made, tmp_path, monkeypatch):
    (tmp_path / "omniglot-py").mkdir()
    for part in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(made / "omniglot-py" / f"{part}.zip") as archive:
            archive.extractall(tmp_path / "omniglot-py")
    read = []  # what goes to be decoded, in place of the decoding

    def contents(sources: list[Path]) -> dict[str, np.ndarray]:
        read.append(sorted(found for source in sources for found in omniglot._files(source)))
        raise UserError("not decoded")

    monkeypatch.setattr(omniglot, "_decode", contents)
    for root in (made, tmp_path):
        with pytest.raises(UserError, match="not decoded"):
            omniglot_characters(root, tmp_path / "cache")
    assert len(read[0]) == 32_460
    assert read[0] == read[1]


def test_missing_damaged_or_incomplete_files_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"looked for .*images_background.zip"):
        omniglot_characters(tmp_path, tmp_path)
    folder = tmp_path / "omniglot-py"
    folder.mkdir()
    for number, part in ((1, "images_background"), (965, "images_evaluation")):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            archive.writestr(f"{part}/Latin/character01/{number:04d}_01.png", png(np.zeros((4, 4), np.uint8)))
    with pytest.raises(UserError, match="incomplete: it has 2 of 1,623 characters and 2 of 32,460 drawings"):
        omniglot_characters(tmp_path, tmp_path)
    (folder / "images_evaluation.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        omniglot_characters(tmp_path, tmp_path)


@pytest.mark.real_data
@pytest.mark.skipif(not (_DATA and (Path(_DATA) / "omniglot-py").exists()), reason="TL_LAB_DATA has no omniglot-py")
def test_the_usual_split_has_its_published_sizes():
    sizes = {"vinyals": (1028, 172, 423), "alphabets": (792, 172, 659)}
    for split, expected in sizes.items():
        data = Omniglot(split=split, **SIZES)
        data.load()
        parts = [data.classes[name] for name in ("train", "val", "test")]
        assert tuple(len(names) for names in parts) == tuple(4 * size for size in expected)
        assert all(torch.bincount(samples.y).unique().tolist() == [20] for samples in data.sets.values())
        alphabets = [{name.split("/")[0] for name in names} for names in parts]
        assert alphabets[1] == set(VALIDATION_ALPHABETS)
        shared = alphabets[0] & alphabets[2]
        assert shared == ({"Gurmukhi"} if split == "vinyals" else set())
        assert sum(name.startswith("Gurmukhi/") for name in parts[2]) == (16 if split == "vinyals" else 180)
