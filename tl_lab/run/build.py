"""From a configuration to data, networks and strategy."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from tl_lab.adapters import Adapter, NoAdapter
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.weights import find_weights
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.config.stored import read_stored
from tl_lab.config.trust import check_foreign
from tl_lab.data.base import DataModule
from tl_lab.data.cache import file_hash
from tl_lab.data.request import Request
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.errors import UserError
from tl_lab.model.network import weights_stream
from tl_lab.run.checkpoints import checkpoint_of, read_checkpoint
from tl_lab.run.plan import choice_of, fitting
from tl_lab.strategies.base import Strategy

__all__ = [
    "Parts",
    "adapt",
    "build",
    "build_backbone",
    "build_strategy",
    "check_inputs",
    "check_modality",
    "describe_weights",
    "request_for",
    "weights_hash",
]


_LEARNED: dict[str, Any] = {"pretrained": False, "weights": None}  # options of a backbone, and what leaves them out


@dataclass
class Parts:
    """What a configuration builds.

    Attributes:
        data: read, and brought to the backbone's input.
        strategy: with its networks, ready for a trainer.
    """

    data: DataModule
    strategy: Strategy


def build(cfg: DictConfig) -> Parts:
    """Read the data and build everything that learns.

    Args:
        cfg: the run's configuration, checked.

    Raises:
        UserError: from the data (missing files, too few samples) or the networks (wrong sizes, names, weights).
    """
    _warn_of_weights(cfg)
    check_modality(cfg)
    data: DataModule = build_node(cfg.data)
    adaptation: DomainAdaptation = build_node(cfg.domain_adaptation)
    data.load(request_for(cfg, adaptation))
    adapter, backbone = adapt(cfg, _started_backbone(cfg, data))
    check_inputs(cfg, backbone, data)
    data.use(backbone.spec)
    return Parts(data, _strategy(cfg, data, backbone, adapter, adaptation))


def check_modality(cfg: DictConfig) -> None:
    """Refuse a backbone for other inputs than the data's, before any data are read.

    Args:
        cfg: the run's configuration; its classes state their modalities.

    Raises:
        UserError: naming the backbones that fit.
    """
    data: Any = class_of(cfg.data)
    backbone: Any = class_of(cfg.backbone)
    modality = data.modality_for(cfg.data)
    if modality not in backbone.modalities:
        raise UserError(
            f"backbone={choice_of(cfg, 'backbone')} takes {' or '.join(sorted(backbone.modalities))} inputs, and those "
            f"of data={choice_of(cfg, 'data')} are of the kind {modality}; valid: "
            f"{fitting('backbone', lambda other: modality in other.modalities) or 'no backbone'}"
        )


def check_inputs(cfg: DictConfig, backbone: Backbone, data: DataModule) -> None:
    """Refuse data whose samples cannot be brought to the backbone's declared inputs.

    Args:
        cfg: the run's configuration.
        backbone: built for the data.
        data: as they were read.

    Raises:
        UserError: stating what the backbone takes and what the data have.
    """
    if reason := backbone.spec.mismatch(data.shape):
        raise UserError(
            f"backbone={choice_of(cfg, 'backbone')} does not fit data={choice_of(cfg, 'data')}: {reason}; leave "
            "backbone.in_channels and backbone.input_size out to have them filled in from the data"
        )


def request_for(cfg: DictConfig, adaptation: DomainAdaptation) -> Request:
    """State what a run needs from its data.

    Args:
        cfg: the run's configuration.
        adaptation: that the configuration names.
    """
    strategy: Any = class_of(cfg.strategy)
    return Request(
        adapts=adaptation.trains_on_target,
        reveals_target=adaptation.oracle,
        tracks_oracle=bool(cfg.get("validator")) and not adaptation.oracle,
        serves=getattr(strategy, "trains_on", "episodes"),
        epochs_per_task=cfg.trainer.max_epochs,
        jointly=getattr(strategy, "jointly", False),
    )


def build_strategy(cfg: DictConfig, data: DataModule) -> Strategy:
    """Build what learns once more, for data that are read and brought to its input.

    Args:
        cfg: the run's configuration, checked.
        data: of the shape and classes of the run's own.
    """
    adapter, backbone = adapt(cfg, _started_backbone(cfg, data))
    return _strategy(cfg, data, backbone, adapter, build_node(cfg.domain_adaptation))


def _warn_of_weights(cfg: DictConfig) -> None:
    if given := _left_aside(cfg):
        warnings.warn(
            f"strategy={choice_of(cfg, 'strategy')} starts from random weights: {', '.join(given)} left aside; "
            "strategy=fine_tuning starts from them",
            stacklevel=2,
        )


def _left_aside(cfg: DictConfig) -> list[str]:
    """Name the learned weights that are given to a strategy that does not start from any."""
    strategy: Any = class_of(cfg.strategy)
    if strategy.transfers:
        return []
    given = {"init_from": cfg.init_from, **{f"backbone.{name}": cfg.backbone.get(name) for name in _LEARNED}}
    return [f"{name}={str(value).lower() if value is True else value}" for name, value in given.items() if value]


def _without_weights(cfg: DictConfig) -> DictConfig:
    """Give the configuration without the weights that its strategy leaves aside."""
    if not _left_aside(cfg):
        return cfg
    own = {name: value for name, value in _LEARNED.items() if name in cfg.backbone}
    return cast(DictConfig, OmegaConf.merge(cfg, {"init_from": None, "backbone": own}))


def _started_backbone(cfg: DictConfig, data: DataModule) -> Backbone:
    cfg = _without_weights(cfg)
    backbone = build_backbone(cfg, data.shape)
    return _start_from(Path(cfg.init_from), backbone) if cfg.init_from else backbone


def adapt(cfg: DictConfig, backbone: Backbone) -> tuple[Adapter, Backbone]:
    """Build the adapter, and inject it into a backbone that has its weights.

    Args:
        cfg: the run's configuration; one without an adapter means none.
        backbone: may be changed in place.

    Returns:
        The adapter, and the backbone to build the network on.
    """
    node = cfg.get("adapter")
    adapter: Adapter = NoAdapter() if node is None else build_node(node)
    with weights_stream(cfg.seed, "adapter"):
        return adapter, adapter.inject(backbone)


def _strategy(
    cfg: DictConfig, data: DataModule, backbone: Backbone, adapter: Adapter, adaptation: DomainAdaptation
) -> Strategy:
    strategy: Strategy = build_node(
        cfg.strategy,
        backbone=backbone,
        adapter=adapter,
        adaptation=adaptation,
        problem=data.problem,
        num_outputs=_num_outputs(cfg, data),
        labels=data.training_labels,
        outputs=data.outputs if isinstance(data, TaskStream) else None,
        optimizer=build_node(cfg.optimizer),
        scheduler=build_node(cfg.scheduler),
        seed=cfg.seed,
        **cfg["update"],
    )
    if cfg.channels_last:
        strategy.network.to(memory_format=torch.channels_last)
    return strategy


def _num_outputs(cfg: DictConfig, data: DataModule) -> int:
    """Count what the head tells apart: the classes, or the ways of an episode where that is what is learned."""
    if isinstance(data, EpisodicData) and cast(Any, class_of(cfg.strategy)).fixed_way:
        return data.episode["train"].way
    return data.num_classes


def build_backbone(cfg: DictConfig, shape: tuple[int, ...]) -> Backbone:
    """Build the backbone, its weights from their own random stream.

    Args:
        cfg: the run's configuration.
        shape: channels, height and width of the data; they fill what the configuration leaves open. ``()`` where the
            data have none, and nothing is filled in.
    """
    known = {"in_channels": shape[0], "input_size": shape[1:]} if shape else {}
    open_ones: dict[str, Any] = {name: value for name, value in known.items() if cfg.backbone.get(name) is None}
    with weights_stream(cfg.seed, "backbone"):
        return cast(Backbone, build_node(cfg.backbone, **open_ones))


def _start_from(run_folder: Path, backbone: Backbone) -> Backbone:
    """Give the backbone the weights that an earlier run has learned, its adapter's folded in."""
    path = checkpoint_of(run_folder)
    learned = read_checkpoint(path)["state_dict"]
    own = "network.target_encoder.backbone."  # a new run goes on from the encoder of the domain adapted to
    prefix = own if any(name.startswith(own) for name in learned) else "network.backbone."
    weights = {name.removeprefix(prefix): tensor for name, tensor in learned.items() if name.startswith(prefix)}
    for name in [name for name in weights if "target_running_" in name]:
        # statistics kept for each domain: the new run goes on from those of the domain adapted to
        weights[name.replace("target_running_", "running_")] = weights.pop(name)
        del weights[name.replace("target_running_", "source_running_")]
    adapter, adapted = adapt(_adapter_of(run_folder), backbone)
    try:
        adapted.load_state_dict(weights)
    except RuntimeError as error:
        theirs = read_stored(run_folder).backbone
        raise UserError(
            f"init_from: the backbone of {run_folder} is another one than this run's: it was {theirs._target_} with "
            f"{ {name: value for name, value in theirs.items() if name != '_target_'} }; give the same backbone group, "
            "options and number of input channels"
        ) from error
    return adapter.merge(adapted)


def _adapter_of(run_folder: Path) -> DictConfig:
    """Give the adapter's part of an earlier run's configuration, with its seed."""
    path = run_folder / "config.yaml"
    if not path.is_file():  # weights can be read all the same
        return OmegaConf.create({"seed": 0})
    theirs = read_stored(run_folder)
    check_foreign(theirs.adapter, path)
    return OmegaConf.create({"adapter": theirs.adapter, "seed": theirs.get("seed", 0)})


def describe_weights(cfg: DictConfig) -> str:
    """Say where the backbone's weights come from."""
    if given := _left_aside(cfg):
        return f"random (strategy={choice_of(cfg, 'strategy')} leaves {', '.join(given)} aside)"
    if cfg.init_from:
        return f"learned by {cfg.init_from}, {checkpoint_of(Path(cfg.init_from)).stem} checkpoint"
    if cfg.backbone.get("weights"):
        return f"read from {cfg.backbone.weights}"
    if cfg.backbone.get("pretrained"):
        return "pretrained, as published"
    transfers = choice_of(cfg, "strategy") in ("fine_tuning", "feature_extraction", "nearest_centroid")
    advice = " (nothing to transfer: see backbone.pretrained, backbone.weights, init_from)" if transfers else ""
    return f"random{advice}"


def weights_hash(cfg: DictConfig) -> str | None:
    """Identify the file that the backbone started from by its content: the configuration holds its path only."""
    cfg = _without_weights(cfg)
    given = cfg.backbone.get("weights")
    path = checkpoint_of(Path(cfg.init_from)) if cfg.init_from else find_weights(given) if given else None
    return None if path is None else file_hash(path)
