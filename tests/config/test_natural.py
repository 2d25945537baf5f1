"""Natural choices: the defaults of a run that names nothing, and where they are stated."""

import re
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from program_starts import command

from tl_lab.config import choices, compose, conf_dir, config_hash
from tl_lab.config.natural import Loader, Natural, choose, composing_once, declared, install, keeps_frozen, reasons_of
from tl_lab.config.nodes import read_node
from tl_lab.errors import UserError
from tl_lab.run.pairing import check_pairing
from tl_lab.run.plan import Plan

DEFAULT = {"strategy": "from_scratch", "data": "pair", "backbone": "lenet", "domain_adaptation": "auto"}
STATED = {
    ("data", "pair"): "domain_adaptation=dann",
    ("data", "points"): "backbone=mlp,domain_adaptation=dann",
    ("data", "episodes_of"): "backbone=conv4,domain_adaptation=dann,where=of",
    ("data", "episodes"): "backbone=conv4",
    ("data", "texts"): "backbone=encoder",
    ("backbone", "encoder"): "strategy=tuning",
    ("strategy", "prototypes"): "data=episodes",
    ("strategy", "centroid"): "data=episodes,domain_adaptation=none",
    ("strategy", "asking"): "backbone=model,adapter=lora",
}
WAITS = "strategy.layers.unfreeze_every=99"
# the hash of the run without any override, as versions before natural choices had it
MAIN_HASH = "7d204639089150228ae4883b3ebe6be546e61e8680f31ca8da7cba8cddf188ab"


def _chosen(**given: str) -> dict[str, str]:
    inner = {key.replace("__", "."): value for key, value in given.items()}
    found = choose({**DEFAULT, **inner}, set(inner), lambda *name: declared(STATED.get(name)))
    return {group: natural.choice for group, natural in found.items()}


def test_a_header_is_read():
    assert declared(None) == declared("") == {}
    assert declared("backbone=mlp,domain_adaptation=dann") == {"backbone": "mlp", "domain_adaptation": "dann"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"domain_adaptation": "dann"}),
        ({"data": "set"}, {"domain_adaptation": "none"}),
        ({"data": "points"}, {"backbone": "mlp", "domain_adaptation": "dann"}),
        ({"data": "points", "backbone": "lenet"}, {"domain_adaptation": "dann"}),
        (
            {"data": "points", "strategy": "asking"},
            {"backbone": "model", "adapter": "lora", "domain_adaptation": "dann"},
        ),
        ({"strategy": "asking", "adapter": "none"}, {"backbone": "model", "domain_adaptation": "dann"}),
        ({"data": "points", "domain_adaptation": "mmd"}, {"backbone": "mlp"}),
        ({"data": "texts"}, {"backbone": "encoder", "strategy": "tuning", "domain_adaptation": "none"}),
        ({"data": "set", "backbone": "encoder"}, {"strategy": "tuning", "domain_adaptation": "none"}),
        ({"data": "texts", "strategy": "from_scratch"}, {"backbone": "encoder", "domain_adaptation": "none"}),
        ({"strategy": "prototypes"}, {"data": "episodes", "backbone": "conv4", "domain_adaptation": "none"}),
        ({"strategy": "prototypes", "data": "pair"}, {"domain_adaptation": "dann"}),
        ({"strategy": "centroid", "data": "pair"}, {"domain_adaptation": "none"}),
        ({"strategy": "centroid", "domain_adaptation": "dann"}, {"data": "episodes", "backbone": "conv4"}),
    ],
)
def test_given_choices_take_precedence_and_determine_the_others(given: dict[str, str], expected: dict[str, str]):
    assert _chosen(**given) == expected


@pytest.mark.parametrize(("inner", "adaptation"), [("pair", "dann"), ("set", "none")])
def test_composed_data_have_a_target_if_their_parts_have_one(inner: str, adaptation: str):
    choices = {**DEFAULT, "data": "episodes_of", "data@data.of": inner}
    found = choose(choices, {"data"}, lambda *name: declared(STATED.get(name)))
    assert found["domain_adaptation"].choice == adaptation


def test_the_reason_is_stated():
    found = choose({**DEFAULT, "data": "points"}, {"data"}, lambda *name: declared(STATED.get(name)))
    assert found["backbone"] == Natural("mlp", "default for data=points")
    assert found["domain_adaptation"] == Natural("dann", "data=points has an unlabelled target")


@pytest.mark.parametrize(
    ("trainable", "every", "bottleneck", "frozen"),
    [
        ("all", None, None, False),
        ("none", None, None, True),
        (0, None, None, True),
        ([], None, None, True),
        ("none", None, 8, False),
        (1, None, None, False),
        ("all", 3, None, True),
        ("all", 2, None, False),
        ("all", 3, 8, False),
    ],
)
def test_a_frozen_backbone_is_recognised(trainable: Any, every: int | None, bottleneck: int | None, frozen: bool):
    node = {"layers": {"trainable": trainable, "unfreeze_every": every}, "bottleneck": bottleneck}
    assert keeps_frozen(node, max_epochs=3) is frozen


def test_a_strategy_without_a_bottleneck_to_set_is_recognised():
    assert keeps_frozen({"layers": {"trainable": "none"}}, None)


@pytest.mark.parametrize(
    ("overrides", "name", "backbone"),
    [
        ([], "dann-from_scratch-printed_to_handwritten", "LeNet"),
        (["data=digits"], "none-from_scratch-digits", "LeNet"),
        (["data=digits", "domain_adaptation=auto"], "none-from_scratch-digits", "LeNet"),
        (["data=moons"], "dann-from_scratch-moons", "MLP"),
        (["data=amazon_reviews"], "dann-from_scratch-amazon_reviews", "MLP"),
        (["strategy=prototypical"], "none-prototypical-glyph_episodes", "Conv4"),
        (["strategy=prototypical", "backbone=lenet"], "none-prototypical-glyph_episodes", "LeNet"),
        (["strategy=ewc"], "none-ewc-split_digits", "LeNet"),
        (["strategy=joint", "data=permuted_digits", "data@data.of=moons"], "none-joint-permuted_digits", "LeNet"),
        (["strategy=feature_extraction"], "none-feature_extraction-printed_to_handwritten", "LeNet"),
        (
            ["strategy=feature_extraction", "strategy.bottleneck=8"],
            "dann-feature_extraction-printed_to_handwritten",
            "LeNet",
        ),
        (
            ["strategy.layers.unfreeze_every=99", "strategy.bottleneck=null", "data=moons"],
            "none-from_scratch-moons",
            "MLP",
        ),
        (["data=stream", "strategy=ewc"], "none-ewc-stream", "LeNet"),
        (["data=stream", "strategy=ewc", "data.datasets=[mnist_usps,moons]"], "dann-ewc-stream", "LeNet"),
        (["data=stream", "strategy=ewc", "data.datasets=[mnist_usps,usps]"], "none-ewc-stream", "LeNet"),
        (["data=stream", "strategy=ewc", "data.datasets=[rte,mrpc]"], "none-ewc-stream", "HFText"),
        (["data=stream", "strategy=ewc", "data.datasets=[rte,mrpc]", "backbone=mlp"], "none-ewc-stream", "MLP"),
        (["strategy=multi_task"], "none-multi_task-tasks", "HFText"),
        (["strategy=multi_task", "data.datasets=[digits,digits_value]"], "none-multi_task-tasks", "LeNet"),
        (["strategy=multi_task", "data.datasets=[{data: image_folder, root: x}]"], "none-multi_task-tasks", "LeNet"),
        (["strategy=multi_task", "data.datasets=[{data: text_table, path: x.csv}]"], "none-multi_task-tasks", "HFText"),
        (["strategy=multi_task", "data.datasets=['spoken_digits']"], "none-multi_task-tasks", "AudioCNN"),
        (["data=episodes_of", "strategy=maml", "data@data.of=mnist_usps"], "dann-maml-episodes_of", "Conv4"),
        (["experiment=dann/amazon_reviews", "data=moons"], "dann-from_scratch-moons", "MLP"),
        (["experiment=mnist_usps", "data=moons"], "dann-from_scratch-moons", "LeNet"),
        (["experiment=which_transfer", "data=mnist_usps"], "none-fine_tuning-mnist_usps", "Torchvision"),
        (["experiment=which_transfer", "data=sst2"], "none-fine_tuning-sst2", "HFText"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_composed_configuration(overrides: list[str], name: str, backbone: str):
    cfg = compose(overrides)
    assert (cfg.name, cfg.backbone._target_.rpartition(".")[2]) == (name, backbone)
    assert cfg.domain_adaptation._target_.rpartition(".")[2] == {"d": "DANN", "n": "NoAdaptation"}[name[0]]


def test_the_run_without_overrides_stays_the_same():
    assert config_hash(compose()) == config_hash(compose(["domain_adaptation=dann"])) == MAIN_HASH


# of streams and episodes of other data: these have the traits of what they are made of
MADE_OF = {"episodes_of", "stream", "permuted_digits", "permuted_mnist", "rotated_mnist", "split_cifar10"}
MADE_OF |= {"split_digits", "split_mnist"}


@pytest.mark.parametrize("name", sorted(choices("data")["data"]))
def test_data_state_whether_they_have_a_target(name: str):
    file = choices("data")["data"][name]
    kind: Any = get_class(read_node(file)._target_)
    stated = _header(file)
    has_target = "target" in kind.traits
    assert stated.get("domain_adaptation") == ("dann" if has_target or "where" in stated else None)
    assert name in MADE_OF or stated.get("where") in (None, "target")


def test_several_sources_adapt_if_a_target_is_named():
    assert compose(["data=fonts_to_handwritten"]).domain_adaptation._target_.endswith(".DANN")
    without = compose(["data=fonts_to_handwritten", "data.target=null"])
    assert without.domain_adaptation._target_.endswith(".NoAdaptation")


@pytest.mark.parametrize("name", sorted(choices("strategy")["strategy"]))
def test_every_strategy_has_valid_defaults(name: str):
    file = choices("strategy")["strategy"][name]
    kind: Any = get_class(read_node(file)._target_)
    stated = _header(file)
    check_pairing(Plan.of(compose([f"strategy={name}"])))
    takes_none = not kind.trains or getattr(kind, "jointly", False)
    assert stated.get("domain_adaptation") == ("none" if takes_none else None)
    assert ("data" in stated) is not (kind.needs <= {"labels", "target"} <= kind.handles)


@pytest.mark.parametrize("name", sorted(choices("data")["data"]))
def test_data_are_never_refused_for_a_default_adaptation(name: str):
    cfg = compose([f"data={name}"])
    traits = get_class(cfg.data._target_).traits_for(cfg.data)  # type: ignore[attr-defined]
    if traits <= {"labels", "domains", "target"}:
        check_pairing(Plan.of(cfg))
    else:
        with pytest.raises(UserError, match=r"comes with (several )?(tasks|episodes)"):
            check_pairing(Plan.of(cfg))


def _header(file: Path) -> dict[str, str]:
    found = re.search(r"^# @natural (\S+)$", file.read_text(), re.MULTILINE)
    return declared(found[1] if found else None)


@pytest.fixture
def loader():
    import hydra

    install()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def test_hydras_record_contains_the_resolved_name_and_the_reasons(loader: Loader):
    cfg = loader.load_configuration("config", ["domain_adaptation=auto", "data=moons", "seed=1"], RunMode.RUN)
    assert list(cfg.hydra.overrides.task) == ["domain_adaptation=dann", "data=moons", "seed=1"]
    assert cfg.hydra.runtime.choices.domain_adaptation == "dann"
    assert cfg.hydra.runtime.choices.backbone == "mlp"
    assert reasons_of(cfg.hydra) == [
        "backbone=mlp (default for data=moons)",
        "domain_adaptation=dann (data=moons has an unlabelled target)",
    ]


def test_overrides_of_values_are_not_changed(loader: Loader):
    cfg = loader.load_configuration("config", ["data=digits"], RunMode.RUN)
    assert list(cfg.hydra.overrides.task) == ["data=digits"]
    assert cfg.hydra.runtime.choices.domain_adaptation == "none"


def test_a_frozen_backbone_refuses_an_adaptation_with_a_reason(loader: Loader):
    cfg = loader.load_configuration("config", ["strategy=feature_extraction"], RunMode.RUN)
    assert reasons_of(cfg.hydra) == [
        "domain_adaptation=none (strategy.layers keeps the whole backbone frozen, and there is no bottleneck)"
    ]


def test_each_job_of_a_sweep_has_its_own_defaults(loader: Loader):
    overrides = ["data=moons,digits", "domain_adaptation=auto,none", "hydra.mode=MULTIRUN"]
    sweep = loader.load_configuration("config", overrides, RunMode.MULTIRUN)
    assert list(sweep.hydra.overrides.task) == overrides[:2]  # what the sweeper combines
    HydraConfig.instance().set_config(sweep)
    jobs = [["data=moons", "domain_adaptation=auto"], ["data=digits", "domain_adaptation=auto"], ["strategy=ewc"]]
    found = [loader.load_sweep_config(sweep, job).hydra for job in jobs]
    assert [job.runtime.choices.domain_adaptation for job in found] == ["dann", "none", "none"]
    assert [job.runtime.choices.backbone for job in found] == ["mlp", "lenet", "lenet"]
    assert [job.runtime.choices.data for job in found] == ["moons", "digits", "split_digits"]
    assert [job.overrides.task[-1] for job in found] == [
        "domain_adaptation=dann", "domain_adaptation=none", "strategy=ewc",
    ]  # fmt: skip


def test_the_first_value_of_a_swept_group_determines_the_options(loader: Loader):
    cfg = loader.load_configuration("config", ["strategy=maml,anil", "data.test.way=3"], RunMode.MULTIRUN)
    assert cfg.hydra.runtime.choices.data == "glyph_episodes_5way"


def test_shared_files_are_not_choices(loader: Loader):
    assert (conf_dir() / "data" / "_set.yaml").is_file()
    assert "digits" in loader.get_group_options("data")
    assert not [name for name in loader.get_group_options("data") if name.startswith("_")]


OUTSIDE = """
from tl_lab.data.sets.moons import Moons
class Mine(Moons):
    traits = frozenset({"labels", "target"})
"""


@pytest.mark.parametrize(
    ("header", "words"),
    [("", "DANN"), ("# @natural domain_adaptation=mmd\n", "MMD"), ("# @natural backbone=mlp\n", "NoAdaptation")],
)
def test_outside_data_declare_a_target_in_their_file_or_class(header: str, words: str, tmp_path: Path):
    (tmp_path / "mine_data.py").write_text(OUTSIDE)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    node = "# Mine\ndefaults:\n  - /data/moons@_here_\n  - _self_\n_target_: mine_data.Mine\n"
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(header + node)
    shown = command("train", "--config-dir", "conf", "data=mine", "--cfg", "job", cwd=tmp_path)
    assert re.search(rf"_target_: tl_lab\.domain_adaptation\.\w+\.{words}$", shown.stdout, re.MULTILINE)


def test_a_start_composes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra composes for the check, for the mode and for the run; the second and third are copies of the first."""
    loaded = []
    original = ConfigLoaderImpl._load_configuration_impl
    monkeypatch.setattr(
        ConfigLoaderImpl,
        "_load_configuration_impl",
        lambda self, *given, **named: loaded.append(1) or original(self, *given, **named),
    )
    given, pinned = ["data=moons", "seed=3"], ["hydra.run.dir=/somewhere", "hydra.mode=RUN"]
    install()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def load(*texts: str, mode: RunMode = RunMode.RUN, validate: bool = True) -> DictConfig:
            return loader.load_configuration("config", list(texts), mode, True, validate)

        expected = load(*given, *pinned)
        loaded.clear()
        with composing_once():
            first = load(*given)
            assert load(*given, mode=RunMode.MULTIRUN, validate=False).hydra.mode is None
            third = load(*given, *pinned)
            assert len(loaded) == 1
            assert OmegaConf.to_container(third) == OmegaConf.to_container(expected)
            third.seed = 4  # a copy: what is done to it reaches no other
            assert first.seed == load(*given).seed == 3
            assert load("data=moons", "seed=5").seed == 5
            assert load(*given, "hydra.run.dir=/elsewhere").hydra.run.dir == "/elsewhere"
        loaded.clear()
        load(*given)
        assert len(loaded) == 1  # outside a start nothing is remembered


def test_experiments_for_texts_and_recordings_replace_one_for_images(loader: Loader):
    overrides = [["experiment=which_transfer", f"data={data}"] for data in ("sst2", "digits", "audio_folder")]
    texts, images, recordings = (
        loader.load_configuration("config", given, RunMode.MULTIRUN).hydra for given in overrides
    )
    assert texts.runtime.choices.experiment == "which_transfer_texts"
    assert images.runtime.choices.experiment == "which_transfer"
    assert recordings.runtime.choices.experiment == "which_transfer_recordings"
    assert texts.runtime.choices.optimizer == images.runtime.choices.optimizer == "adam"
    assert list(texts.overrides.task) == overrides[0]
