"""What is refused before any data is read: pairings that make no sense, settings that would do something else."""

import contextlib
from collections.abc import Callable
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tl_lab.config import choices
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.errors import UserError
from tl_lab.problems import Problem
from tl_lab.results.tables.reproduction import Reproduces

__all__ = ["check_pairing", "check_protocol", "choice_of", "fitting"]


def check_pairing(cfg: DictConfig) -> None:
    """Refuse combinations that make no sense, before any data is read.

    Args:
        cfg: the run's configuration; its classes declare what they need and offer.

    Raises:
        UserError: naming the choices that would fit.
    """
    data: Any = class_of(cfg.data)
    strategy: Any = class_of(cfg.strategy)
    adaptation: Any = class_of(cfg.domain_adaptation)
    traits = data.traits_for(cfg.data)
    if missing := strategy.needs - traits:
        valid = fitting("data", lambda other: strategy.needs <= other.traits)
        raise UserError(
            f"strategy={choice_of(cfg, 'strategy')} needs data with {' and '.join(sorted(missing))}, which "
            f"data={choice_of(cfg, 'data')} does not have; valid: {valid}"
        )
    if beyond := traits - strategy.handles:
        valid = fitting("strategy", lambda other: traits <= other.handles)
        raise UserError(
            f"data={choice_of(cfg, 'data')} comes with {' and '.join(sorted(beyond))}, which "
            f"strategy={choice_of(cfg, 'strategy')} does not learn from; valid: {valid}"
        )
    _check_adapter(cfg, strategy, traits)
    problem = data.problem_for(cfg.data)
    _check_problem(cfg, problem, strategy)
    _check_validators(cfg, traits, problem)
    if "episodes" in traits:
        _check_episodes(cfg, strategy, adaptation)
    chosen = choice_of(cfg, "domain_adaptation")
    if adaptation.changes_inputs and cfg.strategy.get("cache"):
        raise UserError(
            f"domain_adaptation={chosen} looks at other images in every batch, so that features cannot be computed "
            "once: set strategy.cache=false"
        )
    if not adaptation.needs_target:
        return
    if "target" not in traits:
        raise UserError(
            f"domain_adaptation={chosen} needs a target domain, which data={choice_of(cfg, 'data')} does not have: "
            f"use domain_adaptation=none, or one of {fitting('data', lambda other: 'target' in other.traits)}"
        )
    if "tasks" in traits:
        _check_stream_adapts(cfg, adaptation)
    if not adaptation.trains_on_target:
        return
    if not strategy.trains:
        raise UserError(
            f"strategy={choice_of(cfg, 'strategy')} trains nothing, and domain_adaptation={chosen} acts in training: "
            "use domain_adaptation=none"
        )
    layers = build_node(cfg.strategy.layers)
    waits = layers.unfreeze_every is not None and layers.unfreeze_every >= cfg.trainer.max_epochs
    if (layers.freezes_all or waits) and cfg.strategy.get("bottleneck") is None:
        setting = f"unfreeze_every={layers.unfreeze_every}" if waits else f"trainable={cfg.strategy.layers.trainable}"
        raise UserError(
            f"domain_adaptation={chosen} would reach no parameter, since strategy.layers.{setting} keeps the whole "
            "backbone frozen: add a trainable layer with strategy.bottleneck=256, or let layers learn"
        )


def _check_problem(cfg: DictConfig, problem: type[Problem], strategy: Any) -> None:
    """Refuse methods that cannot learn what the data ask for."""
    data, kind = choice_of(cfg, "data"), problem.name.replace("_", "-")
    if problem.name not in strategy.problems:
        valid = fitting("strategy", lambda other: problem.name in other.problems and strategy.needs <= other.handles)
        raise UserError(
            f"strategy={choice_of(cfg, 'strategy')} learns {_named(strategy.problems)} problems, and data={data} is "
            f"{kind}; valid: {valid}"
        )
    adaptation = build_node(cfg.domain_adaptation)
    if problem.name not in adaptation.problems:
        raise UserError(
            f"domain_adaptation={choice_of(cfg, 'domain_adaptation')} adapts {_named(adaptation.problems)} problems, "
            f"and data={data} is {kind}; valid: "
            f"{fitting('domain_adaptation', lambda other: problem.name in other.problems)}"
        )


def _named(problems: frozenset[str]) -> str:
    return " and ".join(sorted(name.replace("_", "-") for name in problems))


def _check_adapter(cfg: DictConfig, strategy: Any, traits: frozenset[str]) -> None:
    node = cfg.get("adapter")
    if node is None or not class_of(node).changes_backbone:
        return
    chosen = choice_of(cfg, "adapter")
    if not strategy.takes_adapter:
        valid = fitting("strategy", lambda other: other.takes_adapter and other.needs <= traits <= other.handles)
        raise UserError(
            f"strategy={choice_of(cfg, 'strategy')} decides for the whole backbone whether it learns, and "
            f"adapter={chosen} decides it for single parameters: use adapter=none, or one of {valid}"
        )
    if build_node(cfg.strategy.layers).freezes_all:
        raise UserError(
            f"adapter={chosen} would train nothing in the backbone, since strategy.layers.trainable="
            f"{cfg.strategy.layers.trainable} keeps all of it frozen: set strategy.layers.trainable=all"
        )


def _check_stream_adapts(cfg: DictConfig, adaptation: Any) -> None:
    chosen, strategy = choice_of(cfg, "domain_adaptation"), choice_of(cfg, "strategy")
    if adaptation.oracle:
        raise UserError(f"domain_adaptation={chosen} is a bound for one pair of domains; a stream of pairs has none")
    if _compares_predictions(cfg) and cfg.data.scenario != "domain":
        raise UserError(
            f"domain_adaptation={chosen} compares predictions over fixed classes, and data.scenario="
            f"{cfg.data.scenario} changes the classes from task to task: use data.scenario=domain, or an adaptation "
            f"that looks at features alone ({_ON_FEATURES})"
        )
    if cast(Any, class_of(cfg.strategy)).jointly:
        raise UserError(f"strategy={strategy} learns all tasks at once and takes no target: use domain_adaptation=none")


def _check_episodes(cfg: DictConfig, strategy: Any, adaptation: Any) -> None:
    chosen = choice_of(cfg, "domain_adaptation")
    if adaptation.oracle:
        raise UserError(f"domain_adaptation={chosen} is a bound for a pair with the same classes; episodes have none")
    if _compares_predictions(cfg):
        raise UserError(
            f"domain_adaptation={chosen} compares predictions over fixed classes, and those of episodes change: use an "
            f"adaptation that looks at features alone ({_ON_FEATURES})"
        )
    ways = cfg.data.train.way, cfg.data.test.way
    if strategy.fixed_way and ways[0] != ways[1]:
        raise UserError(
            f"strategy={choice_of(cfg, 'strategy')} learns a head with an output for each way, and data.train.way="
            f"{ways[0]} is not data.test.way={ways[1]}: make them equal, or use strategy=prototypical, which takes any"
        )


_ON_FEATURES = "dann, mmd, or coral with domain_adaptation.align=features"


def _compares_predictions(cfg: DictConfig) -> bool:
    adaptation = build_node(cfg.domain_adaptation)
    return bool(adaptation.needs_target_logits)


def _check_validators(cfg: DictConfig, traits: frozenset[str], problem: type[Problem]) -> None:
    for name, node in (cfg.get("validator") or {}).items():
        if not isinstance(node, DictConfig) or "_target_" not in node:
            valid = sorted(choices("validator")["validator"])
            raise UserError(f"validator.{name} is no validator; valid: {', '.join(valid)}")
        validator: Any = class_of(node)
        if not (validator.measures or validator.ranks_runs):
            continue  # such a score is logged where it is defined, and chosen by default
        if "target" not in traits:
            raise UserError(
                f"validator={name} needs two domains, and data={choice_of(cfg, 'data')} has no target: leave it out"
            )
        problems = build_node(node).problems
        if problem.name not in problems:
            raise UserError(
                f"validator={name} scores {_named(problems)} problems, and data={choice_of(cfg, 'data')} is "
                f"{problem.name.replace('_', '-')}: leave it out"
            )


def check_protocol(cfg: DictConfig) -> None:
    """Refuse settings of trainer and callbacks that would quietly do something else than they say.

    Args:
        cfg: the run's configuration.

    Raises:
        UserError: naming what to change.
    """
    Reproduces.from_node(cfg.get("reproduces"))
    trainer, callbacks = cfg.trainer, cfg.callbacks
    if "tasks" in cast(Any, class_of(cfg.data)).traits:
        _check_stream_protocol(cfg)
    if not (trainer.max_epochs and trainer.max_epochs > 0):
        raise UserError(
            f"trainer.max_epochs is at least 1, not {trainer.max_epochs}: schedules follow the share of training done"
        )
    for name in ("max_steps", "max_time", "fast_dev_run", "min_steps", "min_epochs", "val_check_interval"):
        if trainer.get(name) is not None:
            raise UserError(f"trainer.{name} is not supported: schedules follow trainer.max_epochs; set that")
    if not trainer.log_every_n_steps or trainer.log_every_n_steps < 1:
        raise UserError(f"trainer.log_every_n_steps is at least 1, not {trainer.log_every_n_steps}")
    validates = trainer.limit_val_batches != 0 and trainer.check_val_every_n_epoch <= trainer.max_epochs
    if cfg.evaluate == "best" and not (callbacks.checkpoint.best and validates):
        raise UserError(
            "evaluate=best tests the checkpoint that is best on validation, which this run does not make: set "
            "evaluate=last, or let it validate and keep callbacks.checkpoint.best=true"
        )
    if callbacks.early_stopping.enabled and not validates:
        raise UserError("early stopping needs validation: see trainer.limit_val_batches, check_val_every_n_epoch")
    if str(trainer.precision).startswith("16") and trainer.accelerator == "cpu":
        raise UserError(f"trainer.precision={trainer.precision} needs a GPU: use bf16-mixed or 32-true on the CPU")
    if "fsdp" in str(trainer.strategy) and cfg["update"].gradient_clip_norm is not None:
        raise UserError("trainer=fsdp cannot clip the norm of the whole gradient: set update.gradient_clip_norm=null")


def _check_stream_protocol(cfg: DictConfig) -> None:
    if cfg.evaluate != "last":
        raise UserError(
            f"evaluate={cfg.evaluate} does not suit a stream of tasks, of which no epoch of one task is the best: "
            "leave it at last; strategy.task_ends_with=best keeps each task's best weights"
        )
    if cfg.callbacks.early_stopping.enabled:
        raise UserError("early stopping would end a stream within a task: use callbacks=default")
    if cfg.strategy.task_ends_with == "best" and (
        cfg.trainer.limit_val_batches == 0 or cfg.trainer.check_val_every_n_epoch > cfg.trainer.max_epochs
    ):
        raise UserError("strategy.task_ends_with=best needs validation: see trainer.limit_val_batches")


def choice_of(cfg: DictConfig, group: str) -> str:
    """Name what was chosen for a group; its class's name where the configuration was not composed by Hydra."""
    try:
        return str(HydraConfig.get().runtime.choices[group])
    except (ValueError, KeyError):
        return str(cfg[group]._target_).rpartition(".")[2]


def fitting(group: str, fits: Callable[[Any], bool]) -> str:
    """Name the choices of a group whose class fits.

    Args:
        group: of the configuration.
        fits: called with the class of a choice.
    """
    names = []
    for name, file in choices(group)[group].items():
        with contextlib.suppress(Exception):  # a broken neighbour is not this run's mistake
            if fits(class_of(cast(DictConfig, OmegaConf.load(file)))):
                names.append(f"{group}={name}")
    return ", ".join(names)
