"""Office-Caltech10: the real photographs, and their use in training and scoring."""

import os
from pathlib import Path

import pytest

from tl_lab.data.sets.office_caltech10 import OfficeCaltech10
from tl_lab.errors import UserError

FOLDER = Path(os.environ.get("TL_LAB_DATA", "")) / "office_caltech10" / "images"
needs_office = pytest.mark.skipif(not FOLDER.is_dir(), reason="TL_LAB_DATA has no office_caltech10/images")
pytestmark = pytest.mark.real_data


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TL_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))


def names(samples):
    return [str(samples.x.root / name) for name in samples.x.names]


def on_disk(domain):
    return sorted(str(file) for file in (FOLDER / domain).rglob("*.jpg"))


@needs_office
def test_a_transductive_target_is_trained_on_and_scored_whole():
    data = OfficeCaltech10(pair="webcam_to_dslr", protocol="transductive")
    data.load()
    target = on_disk("dslr")
    assert len(target) == 157
    assert sorted(names(data.sets["target/train"])) == sorted(names(data.sets["target/test"])) == target
    assert data.sets["target/train"].y is None
    folders = [Path(name).parent.name for name in names(data.sets["target/test"])]
    assert [data.class_names[i] for i in data.sets["target/test"].y.tolist()] == folders
    source = [name for part in ("train", "val", "test") for name in names(data.sets[f"source/{part}"])]
    assert sorted(source) == on_disk("webcam")


@needs_office
def test_an_inductive_target_is_scored_on_photographs_not_trained_on():
    data = OfficeCaltech10(pair="webcam_to_dslr", protocol="inductive", target_test_share=0.3)
    data.load()
    train, test = (set(names(data.sets[f"target/{part}"])) for part in ("train", "test"))
    assert not train & test
    assert sorted(train | test) == on_disk("dslr")
    assert len(test) == round(0.3 * 157)


@needs_office
def test_several_sources_are_joined():
    data = OfficeCaltech10(pair="dslr+webcam_to_caltech10")
    data.load()
    source = [name for part in ("train", "val", "test") for name in names(data.sets[f"source/{part}"])]
    assert sorted(source) == sorted(on_disk("dslr") + on_disk("webcam"))
    assert data.num_classes == 10


def test_wrong_names_are_refused():
    with pytest.raises(UserError, match="did you mean 'webcam'"):
        OfficeCaltech10(pair="amazon_to_webcan")


def test_absent_photographs_are_named(tmp_path):
    with pytest.raises(UserError, match="Office-Caltech10 was not found"):
        OfficeCaltech10(root=str(tmp_path)).load()
