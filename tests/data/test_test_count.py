"""The number of test samples: an option of every set, drawn by the seed."""

import pytest
import torch
from hydra.utils import instantiate
from laboratory import BlobPair, Blobs, BlobStream

from tl_lab.config import compose, config_hash
from tl_lab.errors import UserError


def test_a_set_keeps_as_many_test_samples_as_asked_for_and_notes_it() -> None:
    whole, few, again, other = Blobs(), Blobs(test_count=7), Blobs(test_count=7), Blobs(test_count=7, seed=1)
    for data in (whole, few, again, other):
        data.load()
    count = len(whole.sets["test"])
    assert len(few.sets["test"]) == 7
    assert few.notes[:1] == [f"test: 7 of {count:,} samples"]
    assert len(few.sets["train"]) == len(whole.sets["train"])
    assert few.fingerprint() == again.fingerprint() != whole.fingerprint()
    kept = {tuple(row) for row in whole.sets["test"].x.flatten(1).tolist()}
    assert {tuple(row) for row in few.sets["test"].x.flatten(1).tolist()} < kept
    assert not torch.equal(other.sets["test"].x, few.sets["test"].x)


def test_pairs_and_streams_limit_each_test_part() -> None:
    pair, stream = BlobPair(test_count=5), BlobStream(test_count=5)
    for data in (pair, stream):
        data.load()
        sizes = {name: len(one) for name, one in data.sets.items() if name.endswith("test")}
        assert sizes
        assert set(sizes.values()) == {5}


def test_more_than_there_are_and_episodes_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.test_count=100000 is more than the .* samples of test"):
        Blobs(test_count=100_000).load()
    with pytest.raises(UserError, match=r"set data\.test_episodes"):
        instantiate(compose(["strategy=prototypical", "data.test_count=5"]).data).limited({})


def test_all_samples_are_what_runs_from_before_the_option_meant() -> None:
    cfg = compose(["data=digits"])
    hashed = config_hash(cfg)
    del cfg.data["test_count"]
    assert config_hash(cfg) == hashed
    assert config_hash(compose(["data=digits", "data.test_count=50"])) != hashed
