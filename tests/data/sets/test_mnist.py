"""MNIST and Fashion-MNIST: known counts, sums and splits, and messages for missing or damaged files."""

import os
import struct
from pathlib import Path

import pytest
import torch

from tl_lab.data.sets.mnist import FashionMnist, Mnist
from tl_lab.errors import UserError

_DATA = os.environ.get("TL_LAB_DATA", "")


def needs(place):
    return pytest.mark.skipif(not (_DATA and (Path(_DATA) / place).exists()), reason=f"TL_LAB_DATA has no {place}")


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.dim()}I", 0, 8, array.dim(), *array.shape)
    path.write_bytes(header + array.to(torch.uint8).numpy().tobytes())


def write_set(folder, train=100, test=20):
    for part, count in (("train", train), ("t10k", test)):
        y = torch.arange(count) % 10
        write_idx(folder / f"{part}-images-idx3-ubyte", (y * 20).view(-1, 1, 1).expand(-1, 28, 28))
        write_idx(folder / f"{part}-labels-idx1-ubyte", y)


@pytest.mark.real_data
@needs("MNIST/raw")
def test_mnist_is_the_published_set():
    data = Mnist()
    data.load()
    train, val, test = (data.sets[name] for name in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (54_000, 6_000, 10_000)
    assert data.shape == (1, 28, 28)
    # the published counts of the digits in the training and the test part
    both = torch.cat([train.y, val.y])
    assert torch.bincount(both).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # the published mean and deviation of the training pixels
    pixels = torch.cat([train.x, val.x]).double() / 255
    assert float(pixels.mean()) == pytest.approx(0.1307, abs=5e-5)
    assert float(pixels.std()) == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.real_data
@needs("FashionMNIST/raw")
def test_fashion_mnist_is_the_published_set():
    data = FashionMnist(val_share=0.2)
    data.load()
    assert data.class_counts.tolist() == [4800] * 10
    assert torch.bincount(data.sets["val"].y).tolist() == [1200] * 10
    assert torch.bincount(data.sets["test"].y).tolist() == [1000] * 10
    pixels = torch.cat([data.sets["train"].x, data.sets["val"].x]).double() / 255
    assert float(pixels.mean()) == pytest.approx(0.2860, abs=5e-5)
    assert data.class_names[9] == "Ankle boot"


@pytest.mark.parametrize(("module", "folder"), [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")])
def test_a_set_in_the_published_layout(tmp_path, module, folder):
    write_set(tmp_path / folder / "raw")
    data = module(root=str(tmp_path))
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 90, "val": 10, "test": 20}
    for samples in data.sets.values():
        assert samples.x.dtype == torch.uint8
        assert torch.equal(samples.x[:, 0, 5, 5].long(), samples.y * 20)
    assert data.num_classes == 10


def test_the_seed_fixes_the_validation_set(tmp_path):
    write_set(tmp_path / "MNIST" / "raw", train=200)
    prints = []
    for seed in (0, 0, 1):
        data = Mnist(root=str(tmp_path), seed=seed)
        data.sets = data.read()
        prints.append(data.sets["val"].fingerprint())
    assert prints[0] == prints[1]


def test_an_absent_set_says_where_and_how(tmp_path):
    with pytest.raises(UserError, match=r"Fashion-MNIST was not found: looked for .*FashionMNIST.*download=true"):
        FashionMnist(root=str(tmp_path)).load()


def test_a_truncated_file_is_called_damaged(tmp_path):
    write_set(tmp_path / "MNIST" / "raw")
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"MNIST in .* cannot be read; its files may be incomplete or damaged"):
        Mnist(root=str(tmp_path)).load()


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_labels_are_checked_when_read(tmp_path, part):
    folder = tmp_path / "MNIST" / "raw"
    write_set(folder)
    y = torch.arange(100 if part == "train" else 20) % 10
    y[7] = 200
    write_idx(folder / f"{part}-labels-idx1-ubyte", y)
    with pytest.raises(
        UserError, match=r"labels of MNIST .* contain 200 \(sample 8; 1 invalid label\): labels must be in 0\.\.9"
    ):
        Mnist(root=str(tmp_path)).load()
    write_idx(folder / f"{part}-labels-idx1-ubyte", y[:-1] % 10)
    with pytest.raises(UserError, match=rf"has {len(y)} images and {len(y) - 1} labels"):
        Mnist(root=str(tmp_path)).load()


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_out_of_range(share):
    with pytest.raises(UserError, match="val_share"):
        Mnist(val_share=share)
