"""The tests' cached composition equals Hydra's composition from the files."""

import hydra
import pytest
from composing import ORIGINALS, registered_source, remember
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from tl_lab.config import conf_dir


def composed(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data=digits", "domain_adaptation=none", "optimizer.lr=0.5", "+optimizer.new=1", "~tags"],
        ["strategy=ewc", "data=split_digits", "hydra/launcher=basic", "hydra.run.dir=here", "validator=[snd]"],
        ["experiment=which_transfer", "data=digits", "seed=3", "hydra.job.name=other"],
    ],
    ids=["defaults", "values", "groups", "experiment"],
)
def test_memory_gives_what_the_files_give(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    remember()  # anew: nothing that other tests composed
    first, again = composed(*overrides), composed(*overrides)
    other_values = composed(*overrides, "update.gradient_clip_norm=3")
    for place, name, original in ORIGINALS:
        monkeypatch.setattr(place, name, original)
    monkeypatch.setattr("tl_lab.config.natural._REMEMBERED", {})
    monkeypatch.delattr(registered_source(), "__deepcopy__")
    fresh = composed(*overrides)
    for found in (first, again):
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(fresh)
        assert OmegaConf.is_struct(found)
        assert found.hydra.runtime.choices == fresh.hydra.runtime.choices
    assert OmegaConf.to_yaml(other_values) == OmegaConf.to_yaml(composed(*overrides, "update.gradient_clip_norm=3"))


def test_a_changed_copy_leaves_the_memory_alone() -> None:
    changed = composed("data=digits")
    OmegaConf.set_struct(changed, False)
    changed.data.batch_size, changed.added = -1, True
    again = composed("data=digits")
    assert again.data.batch_size > 0
    assert "added" not in again


def test_mistakes_are_found_each_time() -> None:
    for _ in range(2):
        with pytest.raises(HydraException):
            composed("optimizer.lrr=1")
        with pytest.raises(HydraException):
            composed("backbone=lenett")
