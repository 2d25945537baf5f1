"""Folders of data sets, and the cache of derived data."""

import numpy as np
import pytest

from tl_lab.data.cache import cache_folder, cached_arrays, file_hash
from tl_lab.data.roots import ROOT_VARIABLE, find_root, missing, places_of
from tl_lab.errors import UserError


def test_the_argument_wins_over_the_environment(tmp_path, monkeypatch):
    given, other = tmp_path / "given", tmp_path / "other"
    given.mkdir()
    other.mkdir()
    monkeypatch.setenv(ROOT_VARIABLE, str(other))
    assert find_root(given, "MNIST", "fetch it") == given
    assert find_root(None, "MNIST", "fetch it") == other


def test_nothing_set_names_both_ways_and_the_remedy(monkeypatch):
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    with pytest.raises(UserError, match=rf"MNIST.*data\.root.*{ROOT_VARIABLE}.*fetch it"):
        find_root(None, "MNIST", "fetch it")


def test_a_folder_that_is_not_there_says_who_named_it(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"data\.root names .*absent, which is not a folder"):
        find_root(tmp_path / "absent", "MNIST", "fetch it")
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=rf"{ROOT_VARIABLE} names .*gone"):
        find_root(None, "MNIST", "fetch it")
    assert find_root(tmp_path / "made", "MNIST", "fetch it", create=True).is_dir()


def test_missing_says_where_and_how(tmp_path):
    error = missing("USPS", tmp_path / "usps.bz2", "set data.download=true")
    assert isinstance(error, UserError)
    assert str(tmp_path / "usps.bz2") in str(error)
    assert str(error).endswith("to get it, set data.download=true")


@pytest.mark.parametrize(
    ("name", "publisher"),
    [
        ("SST-2", "it is published by Socher et al. 2013; "),
        ("CIFAR-10 (a folder)", "it is published by Krizhevsky 2009; "),
        ("Fashion-MNIST", "it is published by Zalando Research; "),
        ("MNIST", "it is published by LeCun, Cortes, Burges; "),
        ("Someone's set", ""),
    ],
)
def test_missing_says_who_published_the_data(name, publisher, tmp_path):
    assert f"{ROOT_VARIABLE}); {publisher}to get it, fetch it" in str(missing(name, tmp_path, "fetch it"))
    with pytest.raises(UserError, match=f"not a folder; {publisher}fetch it$"):
        find_root(tmp_path / "absent", name, "fetch it")


def test_arrays_are_made_once_per_key(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"a": np.arange(5), "names": np.array(["x", "é"])}

    for _ in range(2):
        arrays = cached_arrays("set", {"size": 1}, make, tmp_path)
        assert arrays["a"].tolist() == [0, 1, 2, 3, 4]
        assert arrays["names"].tolist() == ["x", "é"]
    assert len(calls) == 1
    cached_arrays("set", {"size": 2}, make, tmp_path)
    assert len(calls) == 2
    assert len(list(tmp_path.iterdir())) == 2  # nothing half-written is left


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_a_damaged_cache_is_made_anew(tmp_path, content):
    cached_arrays("set", {}, lambda: {"a": np.ones(3)}, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert cached_arrays("set", {}, lambda: {"a": np.full(3, 2.0)}, tmp_path)["a"].tolist() == [2, 2, 2]
    assert cached_arrays("set", {}, lambda: {"a": np.full(3, 9.0)}, tmp_path)["a"].tolist() == [2, 2, 2]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert cached_arrays("set", {}, lambda: {"a": np.ones(2)}, tmp_path / "file" / "cache")["a"].sum() == 2


def test_the_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("TL_LAB_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "tl_lab")


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_relative_path_may_lie_below_the_folder_of_data_sets(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TL_LAB_DATA", str(tmp_path / "sets"))
    assert places_of("weights/a.pth") == [tmp_path / "weights/a.pth", tmp_path / "sets/weights/a.pth"]
    assert places_of(tmp_path / "a.pth") == [tmp_path / "a.pth"]
    monkeypatch.delenv("TL_LAB_DATA")
    assert places_of("a.pth") == [tmp_path / "a.pth"]
