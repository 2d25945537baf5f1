"""Samples in more than one part: equal ones are always found, nearly equal ones on request."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laboratory import BlobPair, Blobs, BlobStream
from PIL import Image

from tl_lab.data.duplicates import Shared, near_images, near_texts, shared_samples
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.samples import Samples
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.errors import UserError


def samples(*rows, y=None, dtype=torch.float32):
    x = torch.tensor(rows, dtype=dtype)
    return Samples(x, torch.arange(len(x)) if y is None else torch.tensor(y))


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.booleans(),
)
def test_equal_samples_are_counted_as_by_hand(train, val, test, named):
    def made(values):
        x = torch.tensor(values).view(-1, 1).repeat(1, 3)
        return Samples({"b": x, "a": x.float()} if named else x, torch.tensor(values) % 2)

    parts = {"train": train, "val": val, "test": test}
    found = shared_samples({name: made(values) for name, values in parts.items()})
    expected = {}
    for name, other in (("val", "train"), ("test", "train"), ("test", "val")):
        if count := sum(value in parts[other] for value in parts[name]):
            expected[name, other] = count, len(parts[name]), 0
    assert {(one.name, one.other): (one.found, one.of, one.differing) for one in found} == expected


def test_other_labels_and_other_kinds_of_numbers_are_distinguished():
    sets = {"train": samples([1.0], [2.0], y=[0, 1]), "test": samples([2.0], [3.0], [1.0], y=[0, 0, 0])}
    (found,) = shared_samples(sets)
    assert found == Shared("test", "train", 2, 3, 1)
    assert str(found) == "2 of 3 samples of test are also in train, 1 of them with another label"
    assert shared_samples(sets | {"train": samples([1], [2], dtype=torch.int32)}) == []
    assert shared_samples(sets | {"train": sets["train"].without_labels()})[0].differing == 0


def test_sets_that_share_on_purpose_are_left_alone():
    one = samples([1.0], [2.0])
    assert shared_samples({"target/train": one, "target/test": one}) == []
    copied = {"target/train": one, "target/test": replace(one, x=one.x.clone())}
    assert [each.found for each in shared_samples(copied)] == [2]
    assert shared_samples(copied, meant=lambda name, other: (name, other) == ("target/test", "target/train")) == []


@pytest.mark.parametrize("data", [Blobs(), BlobPair(), BlobPair(protocol="transductive"), BlobStream(pairs=True)])
def test_data_without_duplicates_say_nothing(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.load()
    assert "duplicates" not in data.facts()


class _Leaking(BlobPair):
    def read(self):
        sets = super().read()
        x = sets["source/train"].x.clone()
        x[:4] = sets["target/test"].x[[3, 4, 5, 3]]
        return sets | {"source/train": replace(sets["source/train"], x=x)}


@pytest.mark.parametrize("stream", [False, True])
def test_duplicates_are_reported_and_stated(stream):
    data = _Leaking(seed=1)
    prefix = ""
    if stream:
        pair, data, prefix = data, BlobStream(pairs=True), "task1/"
        data.read_tasks = lambda: _tasks(data, pair)
    message = f"3 of 30 samples of {prefix}target/test are also in {prefix}source/train"
    with pytest.warns(UserWarning, match=message):
        data.load()
    assert data.facts()["duplicates"].startswith(message)


def _tasks(stream, pair):
    stream.task_classes, stream.template = [list("abc"), list("def")], pair
    return [pair._read(), BlobPair(seed=50)._read()]


# ---------------------------------------------------------------------- nearly equal


def photograph(seed):
    """A smooth random picture, 64 x 64."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(rough).resize((64, 64), Image.Resampling.BICUBIC)


def test_photographs_saved_again_are_nearly_equal(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path / "cache"))
    for split, seeds in (("train", range(12)), ("val", range(20, 26)), ("test", range(30, 36))):
        for i in seeds:
            folder = tmp_path / "data" / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            photograph(i).save(folder / f"{i}.png")
    test = tmp_path / "data" / "test"
    photograph(0).save(test / "a" / "x.jpg", quality=40)
    photograph(1).resize((40, 40)).save(test / "a" / "y.png")
    photograph(2).point(lambda value: value * 0.7 + 20).save(test / "a" / "z.webp", quality=60)
    photograph(30).save(tmp_path / "data" / "val" / "b" / "copy.png")
    exact = ImageFolder(root=str(tmp_path / "data"))
    with pytest.warns(UserWarning, match="1 of 9 samples of test are also in val"):
        exact.load()
    assert exact.duplicates == [Shared("test", "val", 1, 9, 1)]
    near = ImageFolder(root=str(tmp_path / "data"), near_duplicates=0.98)
    with pytest.warns(UserWarning, match=r"nearly \(similarity 0\.98 or more\) 3 of 9"):
        near.load()
    assert near.duplicates == [Shared("test", "train", 3, 9, 1), Shared("test", "val", 1, 9, 1)]
    assert near.fingerprint() == exact.fingerprint()


def test_images_are_compared_by_correlation():
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    others = torch.cat([x[[3]] * 0.5 + 0.2, 1 - x[[1]], torch.full((1, 1, 8, 8), 0.5)])
    assert near_images(x, others, 0.99).tolist() == [-1, -1, -1, 0, -1]
    rows = np.stack([image.flatten().numpy() for image in x])
    expected = np.corrcoef(rows)[0, 1:].max()
    assert (near_images(x[:1], x[1:], expected - 1e-4) >= 0).all()
    assert (near_images(x[:1], x[1:], expected + 1e-4) < 0).all()
    plain = torch.full((2, 1, 8, 8), 0.5)
    plain[1] = 0.3
    assert near_images(plain, others, 0.9).tolist() == [2, -1]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=1, max_size=4),
    st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=1, max_size=4),
    st.sampled_from([0.3, 0.5, 1.0]),
)
def test_texts_are_compared_by_jaccards_index(texts, others, similarity):
    def runs(words):
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    places = near_texts(texts, others, similarity)
    for words, place in zip(texts, places, strict=True):
        index = [len(runs(words) & runs(other)) / len(runs(words) | runs(other)) for other in others]
        assert (place >= 0) == (max(index) >= similarity)
        assert place < 0 or index[place] == max(index)


def test_tokens_are_texts_and_padding_is_no_word():
    ids = torch.tensor([[5, 6, 7, 8, 0, 0], [1, 2, 3, 4, 5, 6]])
    longer = torch.tensor([[5, 6, 7, 8, 9, 0, 0, 0], [9, 9, 9, 9, 9, 9, 9, 9]])
    sets = {
        "train": Samples({"input_ids": longer, "attention_mask": (longer > 0).long()}, torch.tensor([0, 1])),
        "test": Samples({"input_ids": ids, "attention_mask": (ids > 0).long()}, torch.tensor([0, 1])),
    }
    assert shared_samples(sets) == []
    assert shared_samples(sets, 2 / 3) == [Shared("test", "train", 1, 2, 0)]
    assert shared_samples(sets, 0.7) == []


def test_what_cannot_be_compared_is_refused():
    sets = {"train": samples([1.0]), "test": samples([2.0])}
    with pytest.raises(UserError, match="supports images and texts"):
        shared_samples(sets, 0.9)
    with pytest.raises(UserError, match=r"data\.near_duplicates must be null or a similarity up to 1"):
        Blobs(near_duplicates=98)


def test_vowel_signs_are_parts_of_words_and_punctuation_is_not() -> None:
    train = Samples(Texts(["यह की है", "Yes, it IS."]), torch.zeros(2))
    test = Samples(Texts(["यह कि है", "यह की है!", "yes it is"]), torch.zeros(3))
    (found,) = shared_samples({"train": train, "test": test}, similarity=1.0)
    assert found.found == 2
