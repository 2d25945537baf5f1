"""CIFAR-10 from an archive of JPEGs, decoded once."""

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tl_lab.data.sets.cifar10 import Cifar10, read_jpeg_archive
from tl_lab.errors import UserError

_DATA = os.environ.get("TL_LAB_DATA", "")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))


def write_archive(path, train=10, test=4, prefix=""):
    with tarfile.open(path, "w:xz") as archive:
        for part, count in (("train", train), ("test", test)):
            for label, name in reversed(list(enumerate(Cifar10.names))):
                for i in range(count):
                    colour = Image.new("RGB", (32, 32), (label * 20, i * 10, 0 if part == "train" else 200))
                    content = io.BytesIO()
                    colour.save(content, "JPEG", quality=95)
                    member = tarfile.TarInfo(f"{prefix}{part}/{name}/{i:04}.jpg")
                    member.size = content.tell()
                    archive.addfile(member, io.BytesIO(content.getvalue()))


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.skipif(not (_DATA and (Path(_DATA) / "cifar10_jpg.tar.xz").exists()), reason="TL_LAB_DATA has no CIFAR-10")
def test_cifar10_is_the_published_set():
    data = Cifar10(files="jpeg")
    data.load()
    assert data.class_counts.tolist() == [4500] * 10
    assert torch.bincount(data.sets["val"].y).tolist() == [500] * 10
    assert torch.bincount(data.sets["test"].y).tolist() == [1000] * 10
    assert data.shape == (3, 32, 32)
    # the published channel means of the training part; JPEG moves them by less than a grey level
    pixels = torch.cat([data.sets["train"].x, data.sets["val"].x])
    means = [float(pixels[:, c].sum()) / pixels[:, c].numel() / 255 for c in range(3)]
    assert np.allclose(means, [0.4914, 0.4822, 0.4465], atol=2e-3)
    assert data.notes == ["CIFAR-10 read from cifar10_jpg.tar.xz"]


@pytest.mark.parametrize("prefix", ["", "./", "cifar10/"])
def test_an_archive_in_class_order(tmp_path, prefix):
    write_archive(tmp_path / "a.tar.xz", prefix=prefix)
    x, y = read_jpeg_archive(tmp_path / "a.tar.xz", "train", Cifar10.names)
    assert x.shape == (100, 3, 32, 32)
    assert x.dtype == torch.uint8
    assert y.tolist() == [label for label in range(10) for _ in range(10)]
    red, green = x[:, 0].float().mean((1, 2)), x[:, 1].float().mean((1, 2))
    assert (red - y * 20).abs().max() <= 3  # JPEG
    assert (green - torch.arange(10).repeat(10) * 10).abs().max() <= 3


def test_decoded_once(tmp_path, monkeypatch):
    write_archive(tmp_path / "cifar10_jpg.tar.xz")
    first = Cifar10(root=str(tmp_path))
    first.load()
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("read the archive again"))
    second = Cifar10(root=str(tmp_path))
    second.load()
    assert first.fingerprint() == second.fingerprint()
    assert {name: len(samples) for name, samples in second.sets.items()} == {"train": 90, "val": 10, "test": 40}
    assert second.class_names[:2] == ["airplane", "automobile"]


def test_absent(tmp_path):
    with pytest.raises(UserError, match=r"cifar-10-batches-py/ or cifar10_jpg\.tar\.xz.* was not found"):
        Cifar10(root=str(tmp_path)).load()
    with pytest.raises(UserError, match=r"CIFAR-10 was not found: looked for .*cifar-10-batches-py"):
        Cifar10(root=str(tmp_path), files="official").load()


def test_official_files_that_are_not_the_official_ones_are_refused(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"a pickle from elsewhere")
    with pytest.raises(UserError, match=r"CIFAR-10 in .* cannot be read"):
        Cifar10(root=str(tmp_path)).load()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_an_archive_that_was_cut_off(tmp_path, kept):
    write_archive(tmp_path / "cifar10_jpg.tar.xz")
    path = tmp_path / "cifar10_jpg.tar.xz"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError, match="incomplete or damaged"):
        Cifar10(root=str(tmp_path)).load()


def test_options():
    with pytest.raises(UserError, match=r"data\.files"):
        Cifar10(files="png")
    with pytest.raises(UserError, match="only the official files"):
        Cifar10(files="jpeg", download=True)
