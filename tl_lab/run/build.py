"""Build data, networks and strategy from a plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch

from tl_lab.adapters import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.data.scenarios.stream import TaskStream
from tl_lab.data.scenarios.stream_at_once import StreamAtOnce
from tl_lab.domain_adaptation.base import DomainAdaptation
from tl_lab.errors import UserError
from tl_lab.model.base_weights import Base
from tl_lab.model.network import weights_stream
from tl_lab.run.given_sizes import check_given_sizes
from tl_lab.run.pairing import check_modality
from tl_lab.run.plan import Plan, Recipe
from tl_lab.run.weights import base_of, inject, start_from, starts_trained, used_weights
from tl_lab.strategies.base import Strategy
from tl_lab.training.seen_replayed import not_seen

__all__ = ["Parts", "build", "build_backbone", "build_strategy", "check_inputs"]


@dataclass
class Parts:
    """The objects built from a plan.

    Attributes:
        data: loaded, with inputs prepared for the backbone.
        strategy: with its networks, ready for a trainer.
    """

    data: DataModule
    strategy: Strategy


def build(plan: Plan) -> Parts:
    """Load the data and build the networks and the strategy.

    Args:
        plan: of the run, checked.

    Raises:
        UserError: from the data (missing files, too few samples) or the networks (wrong sizes, names, weights).
    """
    check_modality(plan)
    data: DataModule = plan.data.build()
    if plan.learns_stream_at_once:
        data = StreamAtOnce(cast(TaskStream, data))
    adaptation: DomainAdaptation = plan.adaptation.build()
    data.load(_request(plan, adaptation))
    adapter, backbone, base = _adapted(plan, data)
    check_inputs(plan, backbone, data)
    check_given_sizes(plan, backbone, data)
    data.use(backbone.spec)
    return Parts(data, _strategy(plan, data, backbone, adapter, adaptation, base))


def check_inputs(plan: Plan, backbone: Backbone, data: DataModule) -> None:
    """Refuse data that cannot be converted to the declared inputs of the backbone.

    Args:
        plan: of the run.
        backbone: built for the data.
        data: as loaded.

    Raises:
        UserError: with the inputs that the backbone accepts and those of the data.
    """
    if reason := backbone.spec.mismatch(data.shape):
        raise UserError(
            f"backbone={plan.backbone.choice} does not fit data={plan.data.choice}: {reason}; leave "
            "backbone.in_channels and backbone.input_size out to derive them from the data"
        )


def _request(plan: Plan, adaptation: DomainAdaptation) -> Request:
    """Return what the run requires of its data."""
    return Request(
        adapts=adaptation.trains_on_target,
        reveals_target=adaptation.oracle,
        tracks_oracle=bool(plan.validators) and not adaptation.oracle,
        serves=getattr(plan.strategy.kind, "trains_on", "episodes"),
        epochs_per_task=plan.max_epochs or 1,
        jointly=getattr(plan.strategy.kind, "jointly", False),
        validation_samples=plan.validation_samples,
        prepares_training=plan.strategy.kind.prepares_training(plan.strategy.node),
        keeps_raw=getattr(plan.strategy.kind, "reads_raw", False),
    )


def build_strategy(plan: Plan, data: DataModule) -> Strategy:
    """Build the strategy once more, for data that are already loaded and prepared.

    Args:
        plan: of the run, checked.
        data: with the shape and classes of the run's own data.
    """
    adapter, backbone, base = _adapted(plan, data)
    return _strategy(plan, data, backbone, adapter, plan.adaptation.build(), base)


def _adapted(plan: Plan, data: DataModule) -> tuple[Adapter, Backbone, Base | None]:
    """Build the backbone with its initial weights, record their identity, and inject the adapter."""

    def build(node: dict[str, Any]) -> Backbone:
        return build_backbone(Recipe("backbone", node), plan.seed, data.shape, data.for_backbone)

    recipe, init_from = used_weights(plan)
    backbone = build_backbone(recipe, plan.seed, data.shape, data.for_backbone)
    if init_from is not None:
        backbone = start_from(init_from, backbone, build)
    adapter: Adapter = plan.adapter.build()
    base = base_of(plan, backbone)
    return adapter, inject(adapter, plan.seed, backbone), base


def _strategy(
    plan: Plan,
    data: DataModule,
    backbone: Backbone,
    adapter: Adapter,
    adaptation: DomainAdaptation,
    base: Base | None = None,
) -> Strategy:
    update = {name: value for name, value in plan.update.items() if name not in ("compile", "lr_find")}
    given: Mapping[str, Any] = {"seed": plan.seed, **update}
    strategy: Strategy = plan.strategy.build(
        backbone=backbone,
        adapter=adapter,
        adaptation=adaptation,
        problem=data.problem,
        num_outputs=data.head_width(getattr(plan.strategy.kind, "fixed_way", False)),
        labels=data.training_labels,
        outputs=data.outputs,
        optimizer=plan.optimizer.build(),
        scheduler=plan.scheduler.build(),
        **_models_of_runs(plan, data),
        **given,
    )
    strategy.max_updates, strategy.base = plan.max_updates, base
    if not starts_trained(plan, backbone):
        strategy.without_weights()
    strategy.not_seen = not_seen({**plan.chosen, "trainer.precision": str(plan.trainer.option("precision"))})
    if plan.channels_last:
        strategy.network.to(memory_format=torch.channels_last)
    if plan.update.get("compile"):
        for backbone_in_use in backbones(strategy):
            backbone_in_use.compile()  # in place: the names of parameters do not change
    return strategy


def _models_of_runs(plan: Plan, data: DataModule) -> dict[str, Any]:
    """Load the models that options of the strategy refer to (a teacher): of runs, or published ones."""
    from tl_lab.run.teachers import teacher_of

    named = {name: plan.strategy.option(name) for name in getattr(plan.strategy.kind, "of_runs", ())}
    return {f"{name}_model": teacher_of(model, data) for name, model in named.items() if model}


def backbones(strategy: Strategy) -> list[Backbone]:
    """Return the backbones that a strategy trains: one, or one per domain."""
    own = strategy.network.target_encoder
    return [strategy.network.backbone, *([] if own is None else [cast(Backbone, own["backbone"])])]


def build_backbone(
    recipe: Recipe, seed: int, shape: tuple[int, ...], given: Mapping[str, Any] | None = None
) -> Backbone:
    """Build a backbone; its weights have a random stream of their own.

    Args:
        recipe: of the backbone.
        seed: of the run.
        shape: channels, height and width of the data, for options that the configuration leaves open. ``()`` if the
            data have none, in which case nothing is filled in.
        given: further options from the data (see :attr:`~tl_lab.data.base.DataModule.for_backbone`).
    """
    known = {**({"in_channels": shape[0], "input_size": shape[1:]} if shape else {}), **(given or {})}
    open_ones: dict[str, Any] = {name: value for name, value in known.items() if recipe.option(name) is None}
    with weights_stream(seed, "backbone"):
        return cast(Backbone, recipe.build(**open_ones))
