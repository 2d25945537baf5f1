import bz2
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tl_lab.data.sets.digit_pairs import MnistToMnistM, MnistUsps
from tl_lab.data.sets.mnist_m import blend
from tl_lab.errors import UserError

PAIR = {"batch_size": 8}


def write_idx(path, array):
    kinds = {1: 0x00000801, 3: 0x00000803}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f">{1 + array.ndim}I", kinds[array.ndim], *array.shape) + array.tobytes())


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small MNIST, a small USPS and three photographs."""
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 40)):
        raw = tmp_path / "MNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", draw.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(raw / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    (tmp_path / "bsds500" / "train").mkdir(parents=True)
    for i, size in enumerate([(40, 60), (60, 40), (28, 28)]):
        Image.fromarray(draw.integers(0, 256, (*size, 3), np.uint8)).save(tmp_path / f"bsds500/train/{i}.png")

    for name, count in (("usps.bz2", 150), ("usps.t.bz2", 30)):
        rows = [
            f"{1 + i % 10} " + " ".join(f"{j + 1}:{v:.3f}" for j, v in enumerate(draw.uniform(-1, 1, 256)))
            for i in range(count)
        ]
        (tmp_path / name).write_bytes(bz2.compress("\n".join(rows).encode()))
    return tmp_path


def test_blending_is_the_absolute_difference():
    digits = np.array([[[0, 200], [255, 7]]], np.uint8)
    patches = np.array([[[[10, 20, 30], [10, 250, 200]], [[0, 255, 1], [7, 8, 6]]]], np.uint8)
    expected = [[[[10, 20, 30], [190, 50, 0]], [[255, 0, 254], [0, 1, 1]]]]
    assert blend(digits, patches).tolist() == expected
    assert blend(digits, patches).dtype == np.uint8


def test_every_image_is_a_digit_on_some_patch(root):
    data = MnistToMnistM(root=str(root), **PAIR)
    data.load()
    sets = data.read()
    assert data.shape == (3, 28, 28)
    assert {name: len(samples) for name, samples in sets.items()} == {
        "source/train": 180, "source/val": 20, "source/test": 40, "target/train": 200, "target/test": 40,
    }  # fmt: skip
    photographs = [np.asarray(Image.open(file)).astype(int) for file in sorted(root.glob("bsds500/train/*.png"))]
    for digit, mixed in zip(sets["source/test"].x[:5], sets["target/test"].x[:5], strict=True):
        digit, mixed = digit[0].numpy().astype(int), mixed.permute(1, 2, 0).numpy().astype(int)
        fits = [
            np.array_equal(np.abs(p[top : top + 28, left : left + 28] - digit[..., None]), mixed)
            for p in photographs
            for top in range(p.shape[0] - 27)
            for left in range(p.shape[1] - 27)
        ]
        assert sum(fits) == 1
    assert torch.equal(sets["target/test"].y, sets["source/test"].y)


def test_the_set_depends_on_its_own_seed_alone_and_is_kept(root):
    x = {}
    for name, options in {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"mnistm_seed": 1}}.items():
        x[name] = MnistToMnistM(root=str(root), **options, **PAIR).read_parts()["target/train"].x
    assert torch.equal(x["a"], x["b"])
    assert not torch.equal(x["a"], x["c"])
    files = sorted((root / "cache").glob("mnist_m_train-*.npz"))
    assert len(files) == 2
    content = dict(np.load(files[0]))
    content["x"][:] = 7
    np.savez(files[0], **content)
    again = [MnistToMnistM(root=str(root), mnistm_seed=s, **PAIR).read_parts()["target/train"].x for s in (0, 1)]
    assert sum(bool((x == 7).all()) for x in again) == 1  # it was read, not made


def test_mnist_and_usps_both_ways(root):
    for source, target, sizes in (("mnist", "usps", (28, 16)), ("usps", "mnist", (16, 28))):
        data = MnistUsps(root=str(root), source=source, target=target, **PAIR)
        data.load()
        assert tuple(data.sets[f"{d}/train"].x.shape[-1] for d in ("source", "target")) == sizes
        assert data.shape == (1, 28, 28)
        assert data.sets["target/train"].y is None
        assert data.sets["target/test"].y is not None


def test_fewer_samples_are_taken_independent_of_target_labels(root):
    data = MnistUsps(root=str(root), source_count=100, target_count=50, **PAIR)
    sets = data.read()
    assert len(sets["source/train"]) + len(sets["source/val"]) == 100
    assert len(sets["target/train"]) == 50
    whole = MnistUsps(root=str(root), **PAIR).read()["target/train"]
    found = [bool((whole.x == x).flatten(1).all(1).any()) for x in sets["target/train"].x]
    assert all(found)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "usps"}, "'usps' is both source and target"),
        ({"target": "svhn"}, "no domain 'svhn'"),
        ({"source_count": 0}, "source_count"),
        ({"val_share": 1.0}, "val_share"),
    ],
)
def test_wrong_options_are_refused(options, says):
    with pytest.raises(UserError, match=says):
        MnistUsps(**options)


def test_missing_files_are_named(root):
    for file in (root / "bsds500" / "train").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="BSDS500 was not found"):
        MnistToMnistM(root=str(root), **PAIR).load()
    (root / "usps.bz2").unlink()
    with pytest.raises(UserError, match="USPS was not found"):
        MnistUsps(root=str(root), **PAIR).load()


@pytest.mark.real_data
@pytest.mark.skipif(
    not (Path(os.environ.get("TL_LAB_DATA", "")) / "bsds500").is_dir(), reason="TL_LAB_DATA has no bsds500"
)
def test_mnist_m_of_the_real_sets():
    data = MnistToMnistM(batch_size=64)
    sets = data.read_parts()
    assert sets["target/train"].x.shape == (60000, 3, 28, 28)
    assert sets["target/test"].x.shape == (10000, 3, 28, 28)
    assert torch.bincount(sets["target/train"].y).tolist()[:3] == [5923, 6742, 5958]
    # a digit's stroke inverts what it covers; elsewhere the photograph shows: the mean is that of photographs
    assert 80 < sets["target/test"].x.float().mean() < 140
