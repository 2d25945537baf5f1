"""All meaningful combinations run, on the embedded data."""

import pytest
from composing import run_in, strategy_class
from hydra.utils import get_class

from tl_lab.config import choices
from tl_lab.config.nodes import read_node

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

TINY = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "threads=1"]
QUIET = ["trainer.limit_test_batches=1", "trainer.enable_progress_bar=false", "logger=none", "figures=false"]
PAIR = ["data.source_count=200", "data.source_test_count=50", "data.target_test_count=1600", "data.batch_size=8"]
BACKBONES = {
    "mlp": ["backbone.hidden=[16]"],
    "lenet": [],
    "conv4": ["backbone.width=8"],
    "timm": ["backbone.name=test_resnet", "backbone.resize_to=[32,32]"],
    "torchvision": ["backbone.name=squeezenet1_1", "backbone.resize_to=[48,48]"],
}


NONE = "domain_adaptation=none"
EPISODES = ["data=episodes_of", "data.train.way=3", "data.test_episodes=4", "data.val_episodes=4"]
STREAM = ["data=permuted_digits", "data.num_tasks=2", "data.batch_size=8"]


# nothing is trained, or another choice under an adapter: tests/strategies, tests/adapters
ELSEWHERE = {"pretraining", "setfit", "distillation", "zero_shot", "prompting", "adapter_tuning", "partial_tuning"}


def _learning_from(*traits: str) -> list[str]:
    """Strategies for data with these traits."""
    found = []
    for name in choices("strategy")["strategy"]:
        strategy = strategy_class(name)
        if strategy.needs <= set(traits) <= strategy.handles and name not in ELSEWHERE:
            found.append(name)
    return sorted(found)


ORDINARY, CONTINUAL = _learning_from("labels", "target"), _learning_from("labels", "tasks")
METHODS = [name for name in CONTINUAL if "/" not in name]
"""Continual strategies without the settings of papers (folder/name), which differ in values alone and run once."""
FEW_SHOT, MULTI_TASK = _learning_from("labels", "episodes"), _learning_from("labels", "several tasks")


def _from_few_samples(strategy: str) -> list[str]:
    """Let importances rest on a few samples: what takes time is to pass them through a large backbone."""
    node = read_node(choices("strategy")["strategy"][strategy])
    if "fisher" in node:
        return ["strategy.fisher.samples=16"]
    return ["strategy.samples=16"] if "samples" in node else []


def train(folder, *overrides: str) -> dict:
    return run_in(folder, *TINY, *QUIET, *overrides)


def test_all_backbones_and_strategies_are_tried():
    # with weights that are not here everywhere: test_imagenet_backbones.py
    trained = {"squeezenet1_0", *(f"efficientnet_lite{size}" for size in range(3)), "clip"}  # and test_clip.py
    kinds = {name: get_class(read_node(file)._target_) for name, file in choices("backbone")["backbone"].items()}
    # those of texts, tables, recordings and pages have tests of their own
    assert set(BACKBONES) | trained == {name for name, kind in kinds.items() if "image" in kind.modalities}
    others = {*MULTI_TASK, *ELSEWHERE}
    assert {*ORDINARY, *CONTINUAL, *FEW_SHOT} | others == set(choices("strategy")["strategy"])


@pytest.mark.parametrize("strategy", ORDINARY)
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_under_every_strategy_adapts(backbone, strategy, tmp_path):
    options = [f"backbone={backbone}", *BACKBONES[backbone], f"strategy={strategy}", "strategy.bottleneck=8", *PAIR]
    results = train(tmp_path / "run", *options)
    assert results["status"] == "completed"
    assert 0 <= results["metrics"]["test/target/acc"] <= 1


ADAPTATIONS = sorted(choices("domain_adaptation")["domain_adaptation"])
BESIDE = {group: sorted(choices(group)[group]) for group in ("optimizer", "scheduler", "augmentation", "callbacks")}
BESIDE["augmentation"].remove("texts")  # the data are images; test_token_dropout.py


def _beside(adaptation: str, strategy: str) -> dict[str, str]:
    """Choose what the product of adaptations and strategies is run with: each group goes through its choices in turn.

    Features of augmented images cannot be computed once.
    """
    turn = ADAPTATIONS.index(adaptation) + ORDINARY.index(strategy)
    chosen = {group: names[turn % len(names)] for group, names in BESIDE.items()}
    chosen["callbacks"] = BESIDE["callbacks"][turn // 3 % len(BESIDE["callbacks"])]  # beside every augmentation
    return {**chosen, "augmentation": "none"} if strategy == "feature_extraction" else chosen


@pytest.mark.parametrize("strategy", ORDINARY)
@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_every_adaptation_under_every_strategy(adaptation, strategy, tmp_path):
    options = [f"domain_adaptation={adaptation}", f"strategy={strategy}", "strategy.bottleneck=8", *PAIR]
    options += [f"{group}={name}" for group, name in _beside(adaptation, strategy).items()]
    node = read_node(choices("domain_adaptation")["domain_adaptation"][adaptation])  # without a class: auto
    if strategy == "feature_extraction" and "_target_" in node and get_class(node._target_).changes_inputs:
        options.append("strategy.cache=false")
    if strategy != ORDINARY[0]:  # the distance of the domains is measured on an adaptation's features whoever trains
        options.append("health=false")
    results = train(tmp_path / "run", *options)
    assert results["status"] == "completed", results["error"]
    assert 0 <= results["metrics"]["test/target/acc"] <= 1


def test_every_optimizer_scheduler_augmentation_and_callback_is_tried_beside_them():
    runs = [(strategy, _beside(adaptation, strategy)) for adaptation in ADAPTATIONS for strategy in ORDINARY]
    assert {(strategy, one["optimizer"]) for strategy, one in runs} == {
        (strategy, optimizer) for strategy in ORDINARY for optimizer in BESIDE["optimizer"]
    }
    assert {one["scheduler"] for _, one in runs} == set(BESIDE["scheduler"])
    assert {(one["augmentation"], one["callbacks"]) for _, one in runs} == {
        (augmentation, callback) for augmentation in BESIDE["augmentation"] for callback in BESIDE["callbacks"]
    }


@pytest.mark.parametrize("strategy", ORDINARY)
def test_every_strategy_on_supervised_data(strategy, tmp_path):
    options = ["data=digits", "domain_adaptation=none", f"strategy={strategy}"]
    assert train(tmp_path / "run", *options)["status"] == "completed"


@pytest.mark.parametrize(
    ("backbone", "strategy"),
    [("timm", strategy) for strategy in METHODS] + [(backbone, "ewc") for backbone in sorted({*BACKBONES} - {"timm"})],
)
def test_backbones_and_continual_strategies_learn_a_stream(backbone, strategy, tmp_path):
    results = train(
        tmp_path / "run",
        *STREAM,
        f"backbone={backbone}",
        *BACKBONES[backbone],
        f"strategy={strategy}",
        *_from_few_samples(strategy),
        NONE,
    )
    assert results["status"] == "completed", results["error"]
    assert 0 <= results["metrics"]["test/acc"] <= 1


@pytest.mark.parametrize(
    ("strategy", "scenario"),
    [(strategy, "task") for strategy in CONTINUAL] + [(strategy, "class") for strategy in METHODS],
)
def test_every_continual_strategy_in_every_scenario(scenario, strategy, tmp_path):
    options = ["data=split_digits", f"data.scenario={scenario}", f"strategy={strategy}", "optimizer=adamw", NONE]
    assert train(tmp_path / "run", *options, "backbone=mlp", "backbone.hidden=[16]")["status"] == "completed"


@pytest.mark.parametrize(
    ("backbone", "optimizer", "strategy"),
    [(("conv4", "adam"), ("lenet", "sgd"))[turn % 2] + (strategy,) for turn, strategy in enumerate(FEW_SHOT)]
    + [("lenet", "sgd", FEW_SHOT[0]), ("conv4", "adam", FEW_SHOT[1])],
)
def test_few_shot_strategies_learn_from_episodes(backbone, optimizer, strategy, tmp_path):
    options = [f"backbone={backbone}", *BACKBONES[backbone], f"strategy={strategy}", f"optimizer={optimizer}", NONE]
    results = train(tmp_path / "run", *EPISODES, *options)
    assert results["status"] == "completed", results["error"]
    assert 0 <= results["metrics"]["test/acc"] <= 1


@pytest.mark.parametrize("adaptation", ["none", "dann", "mmd", "adabn"])
def test_adaptations_align_embeddings_of_episodes(adaptation, tmp_path):
    pair = ["data@data.of=printed_to_handwritten", "data.of.source_count=600", "data.of.source_test_count=100"]
    options = [f"domain_adaptation={adaptation}", "strategy=prototypical"]
    results = train(tmp_path / "run", *EPISODES, *pair, *options)
    assert results["status"] == "completed", results["error"]
    assert 0 <= results["metrics"]["test/target/acc"] <= 1
