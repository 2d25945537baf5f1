"""Amazon reviews: values and sizes of the files, and withheld labels."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.sets.amazon_reviews import AmazonReviews
from tl_lab.errors import UserError

FOLDER = Path(os.environ.get("TL_LAB_DATA", "")) / "amazon_reviews"
needs_reviews = pytest.mark.skipif(not FOLDER.is_dir(), reason="TL_LAB_DATA has no amazon_reviews")


def _lines(path):
    """Read svmlight rows by hand: label and {feature: count}."""
    for line in path.read_text().splitlines():
        label, *pairs = line.split()
        yield int(label), {int(key): float(value) for key, value in (pair.split(":") for pair in pairs)}


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "amazon_reviews"
    folder.mkdir()
    for number, name in enumerate(("books", "dvd", "electronics", "kitchen")):
        for part, count in (("train", 20), ("test", 6)):
            rows = [f"{1 if i % 2 else -1} {i}:{i + 1} {100 + number}:3 4999:1" for i in range(count)]
            (folder / f"{name}_{part}.svmlight").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_rows_become_vectors_of_counts(small):
    sets = AmazonReviews(root=str(small), pair="books_to_kitchen", val_share=0.2, batch_size=8).read()
    assert {name: len(samples) for name, samples in sets.items()} == {
        "source/train": 16, "source/val": 4, "source/test": 6, "target/train": 20, "target/test": 6,
    }  # fmt: skip
    x, y = sets["target/test"].x, sets["target/test"].y
    assert x.shape == (6, 5000)
    assert y.tolist() == [0, 1, 0, 1, 0, 1]
    for i, row in enumerate(x):
        expected = np.zeros(5000)
        expected[[i, 103, 4999]] = [i + 1, 3, 1]
        np.testing.assert_array_equal(row.numpy(), expected)


def test_several_sources_are_joined_and_the_targets_labels_withheld(small):
    data = AmazonReviews(root=str(small), source=["books", "dvd"], target="kitchen", batch_size=8)
    data.load()
    assert len(data.sets["source/train"]) + len(data.sets["source/val"]) == 40
    assert data.sets["target/train"].y is None
    assert data.shape == (5000, 1, 1)


@needs_reviews
@pytest.mark.real_data
@pytest.mark.parametrize(("name", "tests"), [("books", 4465), ("dvd", 3586), ("electronics", 5681), ("kitchen", 5945)])
def test_the_real_files(name, tests):
    source = "dvd" if name == "books" else "books"
    sets = AmazonReviews(source=source, target=name, batch_size=64).read()
    assert len(sets["target/train"]) == 2000
    assert len(sets["target/test"]) == tests
    assert torch.bincount(sets["target/train"].y).tolist() == [1000, 1000]
    rows = list(_lines(FOLDER / f"{name}_train.svmlight"))
    for i in (0, 1, 999, 1999):
        label, features = rows[i]
        assert int(sets["target/train"].y[i]) == (label > 0)
        found = {int(key): float(sets["target/train"].x[i, key]) for key in sets["target/train"].x[i].nonzero()[:, 0]}
        assert found == features


def test_damaged_and_missing_files_are_named(small):
    place = small / "amazon_reviews"
    (place / "books_test.svmlight").write_text("1 0:one\n")
    with pytest.raises(UserError, match=r"books_test\.svmlight cannot be read"):
        AmazonReviews(root=str(small)).read()
    (place / "dvd_train.svmlight").unlink()
    with pytest.raises(UserError, match="Amazon reviews"):
        AmazonReviews(root=str(small), pair="kitchen_to_dvd").read()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7 0:1", r"the label 7 in row 21 \(1 row in all\): labels are -1 \(negative\) and 1"),
        ("0 0:1", r"the label 0 in row 21"),
        ("nan 0:1", r"the label nan in row 21"),
        ("1 0:-2", r"has the value -2: features are counts"),
        ("1 0:nan", r"has the value nan: features are counts"),
    ],
)
def test_labels_and_counts_are_checked_when_read(small, row, message):
    file = small / "amazon_reviews" / "books_train.svmlight"
    file.write_text(file.read_text() + row + "\n")
    with pytest.raises(UserError, match=r"books_train\.svmlight .*" + message):
        AmazonReviews(root=str(small)).read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": "books_to_music"}, "no domain 'music'"),
        ({"val_share": 0.0}, r"data\.val_share"),
        ({"augmentation": Augmentation(flip=1.0)}, "are vectors"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        AmazonReviews(**options)
