"""Images in tar shards: finding, labels, splits, and reading at positions of a shard."""

import io
import re
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.samples import Samples
from tl_lab.data.sets.webdataset import WebDataset
from tl_lab.errors import UserError

_SPEC = ImageSpec((8, 8), 3)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Return what is used of the library by its published rule, for machines without it."""
    tar, lists = ModuleType("webdataset.tariterators"), ModuleType("webdataset.shardlists")

    def base_plus_ext(path: str):
        match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", path)
        return (match.group(1), match.group(2)) if match else (None, None)

    tar.base_plus_ext = base_plus_ext  # type: ignore[attr-defined]
    lists.expand_urls = lambda text: [text.replace("{0..1}", str(n)) for n in (0, 1)]  # type: ignore[attr-defined]
    for name, module in (("", ModuleType("webdataset")), (".tariterators", tar), (".shardlists", lists)):
        monkeypatch.setitem(sys.modules, f"webdataset{name}", module)
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))


def _image(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)


def _write(path: Path, numbers, label=lambda number: str(number % 2), **others: bytes) -> None:
    with tarfile.open(path, "w") as archive:

        def add(name: str, content: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))

        for number in numbers:
            file = io.BytesIO()
            Image.fromarray(_image(number)).save(file, "png")
            add(f"s/{number:03}.cls", label(number).encode())
            add(f"s/{number:03}.png", file.getvalue())
            add(f"s/{number:03}.json", b"{}")
        for name, content in others.items():
            add(name.replace("_", "."), content)


def _data(root: Path, **options) -> WebDataset:
    data = WebDataset(root=str(root), **{"batch_size": 4, "val_share": 0.25, "test_share": 0.25, **options})
    data.load()
    return data


def test_images_and_labels_are_those_that_were_written(tmp_path: Path) -> None:
    for part, numbers in (("train-0", range(6)), ("train-1", range(6, 10)), ("val-0", (20, 21)), ("test-0", (30, 31))):
        _write(tmp_path / f"x-{part}.tar", numbers)
    data = _data(tmp_path, lazy=True)
    data.use(_SPEC)
    assert (data.class_names, data.describe_sizes()) == (["0", "1"], ["train 10", "val 2", "test 2"])
    train = data.sets["train"]
    assert isinstance(train, Samples)
    assert train.y.tolist() == [number % 2 for number in range(10)]  # type: ignore[union-attr]
    for i in (0, 5, 6, 9):
        assert torch.equal(train.x.read(i, _SPEC), torch.from_numpy(_image(i)).permute(2, 0, 1))  # type: ignore[union-attr]
    some = train.x.subset(torch.tensor([7, 2]))  # type: ignore[union-attr]
    joined = some.concatenate([some, data.sets["val"].x])
    for i, number in enumerate((7, 2, 20, 21)):
        assert torch.equal(joined.read(i, _SPEC), torch.from_numpy(_image(number)).permute(2, 0, 1))
    assert len(set(joined.digests())) == 4
    assert torch.equal(joined.load_all(_SPEC, 0)[3], joined.read(3, _SPEC))
    batch = next(iter(data.train_dataloader()))
    pictures = [torch.from_numpy(_image(i)).permute(2, 0, 1) / 255 for i in batch.index.tolist()]
    assert torch.allclose(batch.x, torch.stack(pictures))


def test_what_is_not_split_is_split_and_braces_name_shards(tmp_path: Path) -> None:
    _write(tmp_path / "all-0.tar", range(10))
    _write(tmp_path / "all-1.tar", range(10, 20))
    sizes = {name: len(samples) for name, samples in _data(tmp_path).sets.items()}
    assert sizes == {"train": 10, "val": 5, "test": 5}
    sizes = {
        name: len(one) for name, one in _data(tmp_path, train_shards="all-0.tar", test_shards="all-1.tar").sets.items()
    }
    assert (sizes["train"] + sizes["val"], sizes["test"]) == (10, 10)
    assert len(_data(tmp_path, train_shards="all-{0..1}.tar").sets["train"]) == 10


def test_names_of_classes_and_what_is_wrong_with_shards(tmp_path: Path) -> None:
    _write(tmp_path / "train-0.tar", range(8))
    assert _data(tmp_path, class_names=["cat", "dog"]).class_names == ["cat", "dog"]
    with pytest.raises(UserError, match="has 3 classes, but the training shards have 2"):
        _data(tmp_path, class_names=["a", "b", "c"])
    with pytest.raises(UserError, match=r"1 of the shards train-\{0\.\.1\}\.tar are missing, .*train-1\.tar"):
        _data(tmp_path, train_shards="train-{0..1}.tar")
    _write(tmp_path / "test-0.tar", range(2), label=lambda number: "other")
    with pytest.raises(UserError, match=r"data\.test_shards: no training shard in .* has the class 'other'"):
        _data(tmp_path)
    _write(tmp_path / "test-0.tar", range(2), b_png=b"x")
    with pytest.raises(UserError, match=r"the image b\.png has no label: expected a file b\.cls next to it"):
        _data(tmp_path)
    (tmp_path / "test-0.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="cannot be read as a tar file"):
        _data(tmp_path)


def test_without_the_library_the_data_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset.tariterators", None)
    with pytest.raises(UserError, match=r"needs the library webdataset, .* install tl_lab\[shards\]"):
        WebDataset(root="x")
