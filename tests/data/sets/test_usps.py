"""USPS in LIBSVM's text format."""

import bz2
import os
from pathlib import Path

import pytest
import torch

from tl_lab.data.sets.usps import Usps
from tl_lab.errors import UserError

_DATA = os.environ.get("TL_LAB_DATA", "")


def write_part(path, count):
    rows = (f"{i % 10 + 1} " + " ".join(f"{p + 1}:{(i % 10) / 5 - 1:.1f}" for p in range(256)) for i in range(count))
    path.write_bytes(bz2.compress(("\n".join(rows) + "\n").encode()))


@pytest.mark.real_data
@pytest.mark.skipif(not (_DATA and (Path(_DATA) / "usps.bz2").exists()), reason="TL_LAB_DATA has no usps.bz2")
def test_usps_is_the_published_set():
    data = Usps()
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 6562, "val": 729, "test": 2007}
    # the counts of the digits given with zip.train and zip.test (Hastie, Tibshirani, Friedman)
    both = torch.cat([data.sets["train"].y, data.sets["val"].y])
    assert torch.bincount(both).tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert torch.bincount(data.sets["test"].y).tolist() == [359, 264, 198, 166, 200, 160, 170, 147, 166, 177]
    assert data.shape == (1, 16, 16)
    assert int(data.sets["train"].x.max()) == 255
    assert int(data.sets["train"].x.min()) == 0


def test_values_and_labels(tmp_path):
    write_part(tmp_path / "usps.bz2", 50)
    write_part(tmp_path / "usps.t.bz2", 20)
    data = Usps(root=str(tmp_path), val_share=0.2)
    data.load()
    assert {name: len(samples) for name, samples in data.sets.items()} == {"train": 40, "val": 10, "test": 20}
    test = data.sets["test"]
    assert test.y.tolist() == list(range(10)) * 2
    # -1 .. 1 -> 0 .. 255
    expected = [int(((y / 5 - 1) + 1) / 2 * 255) for y in test.y.tolist()]
    assert (test.x[:, 0, 3, 3].long() - torch.tensor(expected)).abs().max() <= 1


def test_absent_and_damaged(tmp_path):
    with pytest.raises(UserError, match=r"USPS was not found: looked for .*usps\.bz2"):
        Usps(root=str(tmp_path)).load()
    (tmp_path / "usps.bz2").write_bytes(b"not a bz2 file")
    with pytest.raises(UserError, match=r"USPS in .* cannot be read; its files may be incomplete or damaged"):
        Usps(root=str(tmp_path)).load()
