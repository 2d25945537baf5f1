"""A choice's node read from its files, compared with Hydra's composition."""

from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from tl_lab.config import choices, conf_dir
from tl_lab.config.catalogue import using
from tl_lab.config.nodes import read_node
from tl_lab.data.scenarios.inner import build_inner

SHARING = [
    (group, name, file)
    for group in ("data", "strategy", "backbone", "domain_adaptation", "optimizer")
    for name, file in choices(group)[group].items()
    if name != "auto"
]


def test_some_choices_share():
    shared = [file for folder in ("data", "strategy") for file in (conf_dir() / folder).glob("_*.yaml")]
    assert len(shared) == 25
    assert len(SHARING) > 80


@pytest.mark.parametrize(("group", "name", "file"), SHARING, ids=[f"{group}={name}" for group, name, _ in SHARING])
def test_a_node_is_what_hydra_composes(group: str, name: str, file: Path):
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = hydra.compose(overrides=[f"+{group}={name}"])
    assert OmegaConf.to_container(read_node(file)) == OmegaConf.to_container(composed[group])


def test_order_of_the_defaults_list(tmp_path: Path):
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / "_one.yaml").write_text("a: 1\nb: 1\nc: {d: 1, e: 1}\n")
    (folder / "_two.yaml").write_text("defaults: [_one]\nb: 2\nc: {e: 2}\n")
    (folder / "last.yaml").write_text("defaults: [_two]\nb: 3\n")  # without _self_: own values come last
    (folder / "first.yaml").write_text("defaults: [_self_, _two]\nb: 3\n")
    (folder / "absolute.yaml").write_text("defaults: [/part/last@_here_, /part@inner: first]\na: 4\n")
    assert read_node(folder / "last.yaml") == {"a": 1, "b": 3, "c": {"d": 1, "e": 2}}
    assert read_node(folder / "first.yaml").b == 2
    assert read_node(folder / "absolute.yaml").a == 4
    assert read_node(folder / "absolute.yaml").inner.c.e == 2


def test_a_file_of_another_package_shares_files_of_this_one(tmp_path: Path):
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "own.yaml"
    file.write_text("defaults: [_labelled, _own, _self_]\nbatch_size: 8\n")
    (tmp_path / "data" / "_own.yaml").write_text("rows: 3\n")
    with using([tmp_path]), hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = hydra.compose(overrides=["+data=own"]).data
        assert OmegaConf.to_container(read_node(file)) == OmegaConf.to_container(composed)
    assert (composed.batch_size, composed.rows, composed.evaluate) == (8, 3, "best")


def test_inner_data_have_the_values_that_they_share():
    module = build_inner("digits", seed=3)
    assert (module.val_share, module.test_share, module.seed) == (0.1, 0.2, 3)
