"""Checks before any data are loaded: meaningless combinations, and settings with unexpected effects."""

import contextlib
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from tl_lab.config import choices
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.config.nodes import read_node
from tl_lab.data.scenarios.stream_at_once import StreamAtOnce
from tl_lab.errors import UserError
from tl_lab.problems import Problem
from tl_lab.run.plan import Plan

__all__ = ["check_length", "check_modality", "check_pairing", "check_protocol", "fitting"]


def check_pairing(plan: Plan) -> None:
    """Refuse combinations that make no sense, before any data are loaded.

    Args:
        plan: of the run; its classes declare what they require and support.

    Raises:
        UserError: with the choices that would fit.
    """
    data: Any = plan.data.kind
    strategy: Any = plan.strategy.kind
    adaptation: Any = plan.adaptation.kind
    traits = data.traits_for(plan.data.node)
    if plan.learns_stream_at_once:
        _check_stream_at_once(plan)
        traits = StreamAtOnce.traits
    if missing := strategy.needs - traits:
        valid = fitting("data", lambda other: strategy.needs <= other.traits)
        raise UserError(
            f"strategy={plan.strategy.choice} needs data with {' and '.join(sorted(missing))}, which "
            f"data={plan.data.choice} does not have; valid: {valid}"
        )
    if beyond := traits - strategy.handles:
        valid = fitting("strategy", lambda other: traits <= other.handles)
        raise UserError(
            f"data={plan.data.choice} comes with {' and '.join(sorted(beyond))}, which "
            f"strategy={plan.strategy.choice} does not support; valid: {valid}"
        )
    _check_adapter(plan, strategy, traits)
    problem = data.problem_for(plan.data.node)  # raises an error if tasks contradict each other
    if plan.learns_stream_at_once:
        problem = StreamAtOnce.problem_kind
    _check_problem(plan, problem, strategy)
    _check_validators(plan, problem)
    _check_ways(plan, strategy)
    _check_compares(plan, adaptation)
    chosen = plan.adaptation.choice
    if adaptation.changes_inputs and plan.strategy.option("cache"):
        raise UserError(
            f"domain_adaptation={chosen} changes the images in every batch, so that features cannot be computed "
            "once: set strategy.cache=false"
        )
    if not adaptation.needs_target:
        return
    if not data.target_for(plan.data.node):
        raise UserError(
            f"domain_adaptation={chosen} needs a target domain, which data={plan.data.choice} does not have: "
            f"{_with_target(plan)}"
        )
    if getattr(strategy, "jointly", False):
        raise UserError(
            f"strategy={plan.strategy.choice} trains on all tasks at once, without target: use domain_adaptation=none"
        )
    if not adaptation.trains_on_target:
        return
    if not strategy.trains:
        raise UserError(
            f"strategy={plan.strategy.choice} trains nothing, and domain_adaptation={chosen} acts in training: "
            "use domain_adaptation=none"
        )
    layers = build_node(plan.strategy.option("layers"))
    if layers.freezes_all:
        _check_reaches(plan, f"trainable={layers.trainable}")


def _check_reaches(plan: Plan, setting: str) -> None:
    """Refuse an adaptation if a setting freezes the whole backbone."""
    if plan.strategy.option("bottleneck") is None:
        raise UserError(
            f"domain_adaptation={plan.adaptation.choice} would affect no parameter, because strategy.layers.{setting} "
            "freezes the whole backbone: add a trainable layer with strategy.bottleneck=256, or make layers trainable"
        )


def _check_problem(plan: Plan, problem: type[Problem], strategy: Any) -> None:
    """Refuse methods that do not support the problem of the data."""
    data, kind = plan.data.choice, problem.name.replace("_", "-")
    if not problem.fits(strategy.problems):
        valid = fitting("strategy", lambda other: problem.fits(other.problems) and strategy.needs <= other.handles)
        raise UserError(
            f"strategy={plan.strategy.choice} supports {_named(strategy.problems)} problems, and data={data} is "
            f"{kind}; valid: {valid}"
        )
    adaptation = plan.adaptation.build()
    if not problem.fits(adaptation.problems):
        raise UserError(
            f"domain_adaptation={plan.adaptation.choice} supports {_named(adaptation.problems)} problems, "
            f"and data={data} is {kind}; valid: "
            f"{fitting('domain_adaptation', lambda other: problem.fits(other.problems))}"
        )


def _named(problems: frozenset[str]) -> str:
    *others, last = sorted(name.replace("_", "-") for name in problems)
    return f"{', '.join(others)} and {last}" if others else last


def _check_adapter(plan: Plan, strategy: Any, traits: frozenset[str]) -> None:
    if not plan.adapter.kind.changes_backbone:
        if plan.strategy.option("adapters") == "per_task":
            raise UserError("strategy.adapters=per_task needs an adapter: set adapter=lora, or leave it at shared")
        return
    chosen = plan.adapter.choice
    if not strategy.takes_adapter:
        valid = fitting("strategy", lambda other: other.takes_adapter and other.needs <= traits <= other.handles)
        raise UserError(
            f"strategy={plan.strategy.choice} makes the whole backbone trainable or frozen, and "
            f"adapter={chosen} selects single parameters: use adapter=none, or one of {valid}"
        )
    backbone, node = plan.backbone.kind, plan.backbone.node
    if reason := plan.adapter.build().objection(backbone, node):
        valid = fitting_nodes("adapter", lambda other: not build_node(other).objection(backbone, node))
        raise UserError(f"adapter={chosen} does not suit backbone={plan.backbone.choice}: {reason}; valid: {valid}")
    layers = build_node(plan.strategy.option("layers"))
    if layers.freezes_all:
        raise UserError(
            f"adapter={chosen} would train nothing in the backbone, because strategy.layers.trainable="
            f"{layers.trainable} freezes all of it: set strategy.layers.trainable=all"
        )


def _check_stream_at_once(plan: Plan) -> None:
    text = f"strategy={plan.strategy.choice} learns the tasks of a stream at once"
    if (scenario := plan.data.option("scenario")) != "task":
        raise UserError(f"{text}, each with outputs of its own, not data.scenario={scenario}: set data.scenario=task")
    if plan.data.kind.target_for(plan.data.node) or plan.adaptation.kind.needs_target:
        raise UserError(f"{text} and takes no target: use data without one, and domain_adaptation=none")


def _check_compares(plan: Plan, adaptation: Any) -> None:
    """Refuse bounds and comparisons of predictions where the data give them no meaning."""
    chosen, data = plan.adaptation.choice, plan.data.kind
    if adaptation.oracle and data.has_bound:
        raise UserError(f"domain_adaptation={chosen} is a bound {data.has_bound}")
    if (reason := data.classes_change(plan.data.node)) and plan.adaptation.build().needs_target_logits:
        raise UserError(
            f"domain_adaptation={chosen} compares predictions over fixed classes, and {reason} adaptation of features "
            "alone (dann, mmd, or coral with domain_adaptation.align=features)"
        )


def _check_ways(plan: Plan, strategy: Any) -> None:
    if not getattr(strategy, "fixed_way", False):
        return
    ways = plan.data.option("train")["way"], plan.data.option("test")["way"]
    if ways[0] != ways[1]:
        raise UserError(
            f"strategy={plan.strategy.choice} trains a head with one output per way, and data.train.way="
            f"{ways[0]} is not data.test.way={ways[1]}: make them equal, or use strategy=prototypical, which takes any"
        )


def _check_validators(plan: Plan, problem: type[Problem]) -> None:
    named = not plan.resumes and any(text.lstrip("+").startswith("validator=") for text in plan.overrides)
    for name, recipe in plan.validators.items():
        validator = recipe.kind
        if not (named or validator.measures or validator.ranks_runs):
            continue  # this score is a default, logged only where it is defined
        if not plan.data.kind.target_for(plan.data.node):
            raise UserError(
                f"validator={name} needs two domains, and data={plan.data.choice} has no target: leave it out"
            )
        problems = recipe.build().problems
        if not problem.fits(problems):
            raise UserError(
                f"validator={name} supports {_named(problems)} problems, and data={plan.data.choice} is "
                f"{problem.name.replace('_', '-')}: leave it out"
            )


def check_protocol(plan: Plan) -> None:
    """Refuse settings of trainer and callbacks whose effect would silently differ from their meaning.

    Args:
        plan: of the run.

    Raises:
        UserError: with the setting to change.
    """
    trainer = plan.trainer.option
    if plan.data.kind.in_tasks:
        _check_stream_protocol(plan)
    _check_limits(plan)
    if not trainer("log_every_n_steps") or trainer("log_every_n_steps") < 1:
        raise UserError(f"trainer.log_every_n_steps must be at least 1, not {trainer('log_every_n_steps')}")
    check_length(plan, plan.max_epochs)
    if str(trainer("accelerator")) == "cpu" and str(trainer("devices")) in ("-1", "0"):
        raise UserError(
            f"trainer.devices={trainer('devices')} counts GPUs: give the number of processes on the CPU, at least 1"
        )
    if str(trainer("precision")).startswith("16") and trainer("accelerator") == "cpu":
        raise UserError(f"trainer.precision={trainer('precision')} needs a GPU: use bf16-mixed or 32-true on the CPU")
    if plan.update.get("graph") is True and trainer("accelerator") == "cpu":
        raise UserError("update.graph=true needs CUDA graphs: set trainer=gpu, or leave update.graph at auto")
    if "shard" in str(trainer("strategy")).lower():
        _check_sharding(plan)


def _check_sharding(plan: Plan) -> None:
    """Refuse what needs whole parameters or gradients, if every process stores only a part of each."""
    if plan.update["gradient_clip_norm"] is not None:
        raise UserError("trainer=fsdp cannot clip the norm of the whole gradient: set update.gradient_clip_norm=null")
    parts = {"strategy": plan.strategy, "domain_adaptation": plan.adaptation, "adapter": plan.adapter}
    whole = [f"{group}={recipe.choice}" for group, recipe in parts.items() if not recipe.kind.shardable]
    whole += [f"callbacks.{name}" for name, one in plan.callbacks.items() if not getattr(one.kind, "shardable", True)]
    if plan.strategy.option("task_ends_with") == "best":
        whole.append("strategy.task_ends_with=best")
    if (plan.strategy.option("l2_sp") or {}).get("alpha"):
        whole.append("strategy.l2_sp")
    if (weighting := plan.strategy.option("weighting")) in ("pcgrad", "cagrad"):
        whole.append(f"strategy.weighting={weighting}")
    if whole:
        raise UserError(f"{whole[0]} computes with whole parameters, which trainer=fsdp shards: use trainer=ddp")


def _check_limits(plan: Plan) -> None:
    """Refuse a length that is given twice or not at all, or in a unit that schedules do not support."""
    epochs, updates = plan.max_epochs, plan.max_updates
    if epochs is not None and updates is not None:
        raise UserError(
            f"trainer.max_epochs={epochs} and trainer.max_updates={updates} both set the length of training: give one "
            "of them (a number of updates needs trainer.max_epochs=null where a file sets both)"
        )
    if not ((epochs or updates or 0) > 0):
        raise UserError(
            f"trainer.max_epochs must be at least 1, not {epochs}, unless trainer.max_updates is given: schedules "
            "follow the share of training done"
        )
    for name in ("max_steps", "max_time", "fast_dev_run", "min_steps", "min_epochs", "val_check_interval"):
        if plan.trainer.option(name) is not None:
            raise UserError(
                f"trainer.{name} is not supported: schedules follow trainer.max_epochs or trainer.max_updates; set one "
                "of them"
            )


def check_length(plan: Plan, epochs: int | None) -> None:
    """Refuse settings that need more epochs than the run has.

    Args:
        plan: of the run.
        epochs: number of epochs; None with ``trainer.max_updates`` before the data are loaded.

    Raises:
        UserError: with the setting to change.
    """
    if plan.evaluate == "best" and not (plan.checkpointing.best and plan.validates(epochs)):
        raise UserError(
            "evaluate=best tests the checkpoint that is best on validation, and this run writes none: set "
            "evaluate=last, or enable validation and keep callbacks.checkpoint.best=true"
        )
    if plan.stopping.enabled and not plan.validates(epochs):
        raise UserError("early stopping needs validation: see trainer.limit_val_batches, check_val_every_n_epoch")
    if epochs is not None and plan.adaptation.kind.trains_on_target:
        every = build_node(plan.strategy.option("layers")).unfreeze_every
        if every is not None and every >= epochs:
            _check_reaches(plan, f"unfreeze_every={every}")


def _check_stream_protocol(plan: Plan) -> None:
    if plan.max_updates is not None:
        raise UserError(
            f"trainer.max_updates={plan.max_updates} does not suit a stream, whose tasks are trained for the same "
            "number of epochs each: set trainer.max_epochs, and data.batches_per_epoch for a number of updates in each"
        )
    if plan.evaluate != "last":
        raise UserError(
            f"evaluate={plan.evaluate} does not suit a stream of tasks, which has no best epoch over all tasks: "
            "keep evaluate=last; strategy.task_ends_with=best keeps each task's best weights"
        )
    if plan.stopping.enabled:
        raise UserError("early stopping would end a stream within a task: use callbacks=default")
    if plan.strategy.option("task_ends_with") == "best" and not plan.validates(plan.max_epochs):
        raise UserError("strategy.task_ends_with=best needs validation: see trainer.limit_val_batches")


def check_modality(plan: Plan) -> None:
    """Refuse a backbone whose modality differs from that of the data, before any data are loaded.

    Args:
        plan: of the run; its classes declare their modalities.

    Raises:
        UserError: with the backbones that fit.
    """
    modality, accepted = plan.data.kind.modality_for(plan.data.node), plan.backbone.kind.modalities
    if modality not in accepted:
        raise UserError(
            f"backbone={plan.backbone.choice} takes {' or '.join(sorted(accepted))} inputs, but "
            f"data={plan.data.choice} has {modality} inputs; valid: "
            f"{fitting('backbone', lambda other: modality in other.modalities) or 'no backbone'}"
        )


def _with_target(plan: Plan) -> str:
    """Suggest data with a target: the pair of the chosen data if there is one, then others with such inputs."""
    data = plan.data
    modality = data.kind.modality_for(data.node)

    def fits(other: DictConfig) -> bool:
        kind = class_of(other)
        return kind.target_for(other) and kind.modality_for(other) == modality

    own = f"data={data.choice}_pair"
    others = [name for name in fitting_nodes("data", fits).split(", ") if name]
    advice = ["domain_adaptation=none"]
    if own in others:
        advice = [own, *advice]
    if rest := [name for name in others if name != own]:
        advice.append(f"other data with {modality.replace('_', ' ')} inputs and a target: {', '.join(rest)}")
    return f"use {', or '.join(advice)}"


def fitting(group: str, fits: Callable[[Any], bool]) -> str:
    """List the choices of a group whose class fits.

    Args:
        group: of the configuration.
        fits: called with the class of a choice.
    """
    return fitting_nodes(group, lambda node: fits(class_of(node)))


def fitting_nodes(group: str, fits: Callable[[DictConfig], bool]) -> str:
    """List the choices of a group whose configuration fits.

    Args:
        group: of the configuration.
        fits: called with the node of a choice.
    """
    names = []
    for name, file in choices(group)[group].items():
        with contextlib.suppress(Exception):  # another choice's broken file is not this run's mistake
            if fits(read_node(file)):  # including shared files, which may contain its class
                names.append(f"{group}={name}")
    return ", ".join(names)
