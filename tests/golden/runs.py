"""The golden runs as data: a name, the overrides of the command line, and the way of starting.

Every run uses embedded data only and takes a few seconds. Nothing here imports tl_lab, so that the same list runs
against any revision.
"""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["RUNS", "Run"]


@dataclass(frozen=True)
class Run:
    """One golden run.

    Attributes:
        overrides: of the command line; the run's folder is added.
        kind: ``plain``: in a forked process; ``killed``: killed after its first checkpoint, then resumed;
            ``process``: by ``python train.py``, for runs that start processes of their own; ``sweep``: with ``-m``.
        after: name of a run that must end first, because this one starts from its folder.
    """

    overrides: list[str] = field(default_factory=list)
    kind: Literal["plain", "killed", "process", "sweep"] = "plain"
    after: str | None = None


_QUIET = ["logger=none", "figures=false", "trainer.enable_progress_bar=false"]
_NONE = "domain_adaptation=none"
_SHORT = [*_QUIET, "trainer.max_epochs=2", "trainer.limit_train_batches=4"]
_DIGITS = [*_SHORT, "data=digits", _NONE, "data.labels=200", "data.batch_size=32", "health=false"]
_MLP = ["backbone=mlp", "backbone.hidden=[16]"]
_PAIR = [*_SHORT, "data=printed_to_handwritten", "data.source_count=400", "data.source_test_count=100"]
_PAIR += ["data.target_test_count=600", "data.batch_size=16", "data.batches_per_epoch=4"]
_SOME_PAIR = [*_PAIR, "health=false"]
_STREAM = [*_SHORT, _NONE, *_MLP, "data.batch_size=16", "health=false"]
_SPLIT = [*_STREAM, "data=split_digits"]
_PERMUTED = [*_STREAM, "data=permuted_digits", "data.num_tasks=3"]
_COUNTS = ["data.episodes_per_epoch=4", "data.val_episodes=4", "data.test_episodes=8"]
_EPISODES = [*_QUIET, "trainer.max_epochs=2", "data=episodes_of", "data.train.way=3", *_COUNTS, _NONE, "health=false"]
_GLYPHS = [*_QUIET, "trainer.max_epochs=2", "data=glyph_episodes", *_COUNTS, "data.train.way=5", _NONE, "health=false"]
_SHIFT = [*_QUIET, "trainer.max_epochs=2", "data=glyphs_to_digits", *_COUNTS, "data.train.way=5"]
_CONV4 = ["backbone=conv4", "backbone.width=8"]


def _supervised() -> dict[str, Run]:
    """Supervised runs: strategies, backbones, optimizers, schedulers and the options of training."""
    fine_tuning = [*_DIGITS, "strategy=fine_tuning"]
    return {
        "from_scratch": Run([*_DIGITS, "strategy=from_scratch"]),
        "no_label_budget": Run([*_QUIET, "data=digits", _NONE, *_MLP, "trainer.max_epochs=2"]),
        "mlp_regularised": Run([*_DIGITS, *_MLP, "backbone.batch_norm=true", "backbone.dropout=0.2"]),
        "conv4": Run([*_DIGITS, *_CONV4]),
        "timm": Run([*_DIGITS, "backbone=timm", "backbone.name=test_resnet", "backbone.resize_to=[32,32]"]),
        "torchvision": Run(
            [*_DIGITS, "backbone=torchvision", "backbone.name=squeezenet1_1", "backbone.resize_to=[48,48]"]
        ),
        "feature_extraction_cached": Run([*_DIGITS, "strategy=feature_extraction"]),
        "feature_extraction_uncached": Run([*_DIGITS, "strategy=feature_extraction", "strategy.cache=false"]),
        "fine_tuning_unfreezing": Run(
            [*fine_tuning, "trainer.max_epochs=3", "strategy.layers.unfreeze_every=1", "strategy.layers.decay=2.6"]
        ),
        "fine_tuning_l2_sp": Run([*fine_tuning, "strategy.l2_sp.alpha=0.1", "strategy.l2_sp.beta=0.01"]),
        "fine_tuning_linear_probe": Run([*fine_tuning, "strategy.linear_probe.enabled=true"]),
        "fine_tuning_one_group": Run([*fine_tuning, "strategy.layers.trainable=1", "strategy.bottleneck=8"]),
        "fine_tuning_init_from": Run([*fine_tuning, "init_from=runs/from_scratch"], after="from_scratch"),
        "class_weights_and_smoothing": Run(
            [*_DIGITS, *_MLP, "strategy.class_weights=balanced", "strategy.label_smoothing=0.1"]
        ),
        "accumulated_and_clipped": Run(
            [*_DIGITS, *_MLP, "update.accumulate_batches=2", "update.gradient_clip_norm=0.5"]
        ),
        "head_hidden_dropout": Run([*_DIGITS, *_MLP, "strategy.head.hidden=[12]", "strategy.head.dropout=0.3"]),
        "early_stopping": Run(
            [
                *[*_DIGITS, *_MLP, "optimizer.lr=1e-9", "trainer.max_epochs=6"],
                *["callbacks=early_stopping", "callbacks.early_stopping.patience=1"],
            ]
        ),
        "checkpoints_by_loss": Run(
            [*_DIGITS, *_MLP, "callbacks.checkpoint.monitor=val/loss", "callbacks.checkpoint.every_n_epochs=2"]
        ),
        "augmented": Run([*_DIGITS, "augmentation=characters"]),
        "sgd_cosine": Run([*_DIGITS, *_MLP, "optimizer=sgd", "optimizer.nesterov=true", "scheduler=cosine"]),
        "adamw_linear": Run([*_DIGITS, *_MLP, "optimizer=adamw", "scheduler=linear", "scheduler.warmup=0.1"]),
        "adam_slanted_triangular": Run([*_DIGITS, *_MLP, "scheduler=slanted_triangular"]),
        "sgd_step": Run([*_DIGITS, *_MLP, "optimizer=sgd", "scheduler=step"]),
        "adam_constant": Run([*_DIGITS, *_MLP, "scheduler=constant", "seed=3", "channels_last=false"]),
        "image_folder": Run(
            [
                *[*_SHORT, _NONE, "augmentation=photographs", "health=false"],
                *["data=image_folder", "data.root=images", "data.size=16", "data.workers=0", "data.batch_size=8"],
            ]
        ),
        "killed_and_resumed": Run([*_DIGITS, "data.labels=null", "trainer.max_epochs=12"], kind="killed"),
        "two_processes": Run([*_DIGITS, *_MLP, "trainer=ddp_cpu", *_SHORT], kind="process"),
        "sweep": Run([*_DIGITS, *_MLP, "seed=0,1", "optimizer.lr=0.01,0.001"], kind="sweep"),
    }


_ADAPTATIONS = ["adabn", "adda", "afn", "cdan", "coral", "dann", "dann_paper", "dann_shallow", "domain_randomisation"]
_ADAPTATIONS += ["importance_weighting", "jmmd", "mcc", "mcd", "mdd", "mmd", "none", "self_training", "source_only"]
_ADAPTATIONS += ["target_only"]


def _pairs() -> dict[str, Run]:
    """Every domain adaptation, and what varies around them."""
    runs = {
        f"pair_{name}": Run([*_SOME_PAIR, f"domain_adaptation={name}", "strategy.bottleneck=8"])
        for name in _ADAPTATIONS
    }
    dann = [*_SOME_PAIR, "domain_adaptation=dann"]
    return {
        **runs,
        "pair_health": Run([*_PAIR, "domain_adaptation=dann"]),
        "pair_validators": Run(
            [*dann, "validator=[source_accuracy,dev,importance_weighted,reverse]", "data.evaluate=best"]
        ),
        "pair_mmd_domain_specific": Run(
            [*_SOME_PAIR, "domain_adaptation=mmd", "domain_adaptation.batch_norm=domain_specific"]
        ),
        "pair_fine_tuning": Run([*dann, "strategy=fine_tuning", "strategy.layers.backbone_lr=0.5"]),
        "pair_feature_extraction": Run(
            [*_SOME_PAIR, "domain_adaptation=coral", "strategy=feature_extraction", "strategy.bottleneck=8"]
        ),
        "pair_transductive_augmented": Run([*dann, "data.protocol=transductive", "augmentation=characters"]),
        "pair_moons": Run([*_SHORT, "data=moons", "domain_adaptation=dann", "backbone=mlp", "backbone.hidden=[16,8]"]),
        "pair_killed_and_resumed": Run([*dann, "trainer.max_epochs=20"], kind="killed"),
        "pair_two_processes": Run(
            [*dann, "domain_adaptation.batch_norm=joint", "trainer=ddp_cpu", *_SHORT], kind="process"
        ),
    }


def _streams() -> dict[str, Run]:
    """Every continual strategy, in one scenario at least."""
    strategies = {"a_gem": "class", "der_plus_plus": "class", "ewc": "task", "joint": "class", "lwf": "task"}
    strategies |= {"mas": "task", "naive": "class", "online_ewc": "domain", "replay": "class", "si": "task"}
    runs = {
        f"stream_{name}": Run([*_SPLIT, f"strategy={name}", f"data.scenario={scenario}"])
        for name, scenario in strategies.items()
    }
    fisher = {
        f"stream_fisher_{name}": Run([*_PERMUTED, "strategy=ewc", f"strategy.fisher.estimator={name}"])
        for name in ("sample", "empirical", "batched")
    }
    small_pair = ["data.of.source_count=300", "data.of.source_test_count=100", "trainer.limit_train_batches=2"]
    pairs = [*_PERMUTED, "data@data.of=printed_to_handwritten", *small_pair]
    return {
        **runs,
        **fisher,
        "stream_a_gem_reservoir": Run(
            [*_PERMUTED, "strategy=a_gem", "strategy.memory.policy=reservoir", "strategy.optimizer_state=reset"]
        ),
        "stream_ends_with_best": Run([*_PERMUTED, "strategy=si", "strategy.task_ends_with=best"]),
        "stream_lenet_rotated": Run(
            [
                *[*_SHORT, _NONE, "strategy=lwf", "health=false"],
                *["data=rotated_mnist", "data@data.of=digits", "data.num_tasks=3", "data.batch_size=16"],
            ]
        ),
        "stream_of_sets": Run(
            [*_STREAM, "data=stream", "data.datasets=[digits,digits]", "strategy=ewc", "data.scenario=class"]
        ),
        "stream_of_pairs": Run([*pairs, "domain_adaptation=mmd", "strategy=ewc"]),
        "stream_of_pairs_dann": Run([*pairs, "domain_adaptation=dann", "strategy=replay"]),
        "stream_killed_and_resumed": Run(
            [*_SPLIT, "strategy=ewc", "data.scenario=task", "trainer.max_epochs=12"], kind="killed"
        ),
    }


def _few_shot() -> dict[str, Run]:
    """Every few-shot strategy, on episodes of digits or of printed characters, and under shift."""
    strategies = ["anil", "baseline", "baseline_plus_plus", "fomaml", "maml", "matching", "nearest_centroid"]
    runs = {
        f"episodes_{name}": Run([*_EPISODES, *_CONV4, f"strategy={name}", "data.batch_size=32"])
        for name in [*strategies, "prototypical", "reptile"]
    }
    pair = ["data@data.of=printed_to_handwritten", "data.of.source_count=600", "data.of.source_test_count=100"]
    return {
        **runs,
        "episodes_of_glyphs": Run([*_GLYPHS, *_CONV4, "strategy=prototypical"]),
        "episodes_vmap": Run([*_EPISODES, *_CONV4, "strategy=maml", "strategy.tasks=vmap", "data.episodes_per_step=2"]),
        "episodes_under_shift": Run([*_SHIFT, *_CONV4, "strategy=prototypical", _NONE]),
        "episodes_under_shift_dann": Run([*_SHIFT, *_CONV4, "strategy=prototypical", "domain_adaptation=dann"]),
        "episodes_of_a_pair_mmd": Run([*_EPISODES, *pair, *_CONV4, "strategy=matching", "domain_adaptation=mmd"]),
    }


RUNS: dict[str, Run] = {**_supervised(), **_pairs(), **_streams(), **_few_shot()}
