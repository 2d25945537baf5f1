"""The plan of a run as typed values: no later module reads the configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.results.tables.reproduction import Reproduces

__all__ = ["Checkpointing", "Plan", "Recipe", "Stopping", "Sweep"]


@dataclass(frozen=True)
class Recipe:
    """One choice of a group: a class with its options.

    Args:
        choice: name of the choice, for messages.
        node: the composed node, plain values; nested nodes are built with it.
    """

    choice: str
    node: Mapping[str, Any]

    @property
    def kind(self) -> Any:
        """The class, not built."""
        return class_of(self.node)

    def option(self, name: str, default: Any = None) -> Any:
        """Return an option as configured."""
        return self.node.get(name, default)

    def with_options(self, **options: Any) -> "Recipe":
        """Replace options that the class has."""
        return replace(self, node={**self.node, **options})

    def without(self, name: str) -> "Recipe":
        """Leave out an option that the class does not have."""
        return replace(self, node={key: value for key, value in self.node.items() if key != name})

    def build(self, **given: Any) -> Any:
        """Build the object, with additional arguments that a configuration cannot contain."""
        return build_node(self.node, **given)


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are written, and by which metric the best is chosen.

    Args:
        every_n_epochs: at least 1.
        best: keep the checkpoint that is best on validation.
        monitor: a validation metric; ``auto`` for the default of the data.
        mode: ``max``, ``min`` or ``auto``.
    """

    every_n_epochs: int = 1
    best: bool = True
    monitor: str = "auto"
    mode: str = "auto"


@dataclass(frozen=True)
class Stopping:
    """Whether training ends early, and by which metric.

    Args:
        enabled: whether training may end early.
        monitor: a validation metric; ``auto`` for the default of the data.
        mode: ``max``, ``min`` or ``auto``.
        patience: validations without an improvement.
        min_delta: smallest change that counts as an improvement.
    """

    enabled: bool = False
    monitor: str = "auto"
    mode: str = "auto"
    patience: int = 3
    min_delta: float = 0.0


@dataclass(frozen=True)
class Sweep:
    """The role of the run in a sweep.

    Args:
        part: whether the run belongs to a sweep.
        name: of the sweep's folder.
        objective: the validation metric that a search optimises; ``auto`` for the default of the data.
        chosen: how a search chose its settings.
    """

    part: bool = False
    name: str | None = None
    objective: str = "auto"
    chosen: str | None = None


@dataclass(frozen=True)
class Plan:
    """A run, from its seed to its outputs.

    Args:
        name: of the run.
        seed, threads, channels_last, precision_of_matmul, tags, evaluate, figures, health, forgetting: as
            configured.
        data, backbone, adapter, strategy, adaptation, optimizer, scheduler, trainer: parts to build.
        validators, callbacks: additional parts to build, by name.
        update: options of the optimizer step.
        validation_samples: samples of a set without labels that are scored in each validation; None for all.
        checkpointing, stopping, sweep: see these classes.
        logger: options of W&B, which is used only with a mode.
        loggers: additional loggers to build, by name.
        init_from: folder of the run whose backbone this one starts from.
        resumes: whether the run resumes an interrupted one.
        lengthened_from: epochs for which the run was first configured, if it was extended.
        found_rate: learning rate chosen by a range test; None if it was configured.
        choices: the chosen name of each group.
        overrides: overrides given on the command line.
        reasons: reasons for options that were chosen automatically.
        config: the whole configuration, as plain values, for the logger's record.
    """

    name: str
    seed: int
    threads: int
    channels_last: bool
    precision_of_matmul: str
    evaluate: str
    figures: bool | str
    health: bool
    forgetting: bool
    tags: tuple[str, ...]
    data: Recipe
    backbone: Recipe
    adapter: Recipe
    strategy: Recipe
    adaptation: Recipe
    optimizer: Recipe
    scheduler: Recipe
    trainer: Recipe
    validators: Mapping[str, Recipe]
    callbacks: Mapping[str, Recipe]
    update: Mapping[str, Any]
    validation_samples: int | None
    checkpointing: Checkpointing
    stopping: Stopping
    sweep: Sweep
    logger: Mapping[str, Any]
    loggers: Mapping[str, Recipe]
    init_from: Path | None = None
    resumes: bool = False
    lengthened_from: int | None = None
    found_rate: float | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    reasons: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_epochs(self) -> int | None:
        """Number of epochs, for a stream of each task; None if training is measured in updates."""
        return cast(int | None, self.trainer.option("max_epochs"))

    @property
    def max_updates(self) -> int | None:
        """Number of updates of the whole run; None if training is measured in epochs."""
        return cast(int | None, self.trainer.option("max_updates"))

    @property
    def learns_stream_at_once(self) -> bool:
        """Whether the data are a stream, and the strategy learns its tasks at once as several tasks."""
        return self.data.kind.in_tasks and "several tasks" in self.strategy.kind.needs

    def validates(self, epochs: int | None) -> bool:
        """Whether there is any validation in this number of epochs; None if the number is unknown."""
        every = self.trainer.option("check_val_every_n_epoch")
        return self.trainer.option("limit_val_batches") != 0 and (epochs is None or every <= epochs)

    @property
    def chosen(self) -> dict[str, str]:
        """The choice of each group that an update consists of; the name of the class if it was not chosen by name."""
        return {
            "strategy": self.strategy.choice,
            "domain_adaptation": self.adaptation.choice,
            "backbone": self.backbone.choice,
            "adapter": self.adapter.choice,
            "optimizer": self.optimizer.choice,
        }

    @classmethod
    def of(cls, cfg: DictConfig) -> "Plan":
        """Read a checked configuration, and Hydra's information on the run.

        Args:
            cfg: composed, or read from the folder of a resumed run.

        Raises:
            UserError: an invalid statement of what an experiment reproduces.
        """
        plain = to_plain(cfg)
        Reproduces.from_node(plain.get("reproduces"))
        hydra = HydraConfig.get() if HydraConfig.initialized() else None
        chosen = {} if hydra is None else {str(key): str(name) for key, name in hydra.runtime.choices.items()}
        swept = hydra is not None and hydra.mode == RunMode.MULTIRUN

        def recipe(group: str) -> Recipe:
            node = plain[group]
            return Recipe(chosen.get(group) or str(node["_target_"]).rpartition(".")[2], node)

        callbacks, sweep = plain["callbacks"], plain.get("sweep") or {}
        return cls(
            name=plain["name"],
            seed=plain["seed"],
            threads=plain["threads"],
            channels_last=plain["channels_last"],
            precision_of_matmul=plain.get("precision_of_matmul", "highest"),
            evaluate=plain["evaluate"],
            figures=plain["figures"],
            health=plain["health"],
            forgetting=plain.get("forgetting", False),  # of earlier runs
            tags=tuple(plain["tags"]),
            data=recipe("data"),
            backbone=recipe("backbone"),
            adapter=recipe("adapter"),
            strategy=recipe("strategy"),
            optimizer=recipe("optimizer"),
            adaptation=recipe("domain_adaptation"),
            scheduler=recipe("scheduler"),
            trainer=recipe("trainer"),
            validators=_classes_in(plain.get("validator") or {}),
            callbacks=_classes_in(callbacks),
            update=plain["update"],
            validation_samples=(plain.get("validation") or {}).get("samples"),  # of earlier runs: all
            checkpointing=Checkpointing(**callbacks["checkpoint"]),
            stopping=Stopping(**callbacks["early_stopping"]),
            sweep=Sweep(
                part=swept,
                name=Path(hydra.sweep.dir).name if hydra is not None and swept else None,
                objective=sweep.get("objective", "auto"),
                chosen=sweep.get("chosen"),
            ),
            logger={"mode": "disabled", **_without_classes(plain.get("logger") or {})},
            loggers=_classes_in(plain.get("logger") or {}),
            init_from=Path(plain["init_from"]) if plain["init_from"] else None,
            resumes=bool(plain["resume"]),
            lengthened_from=plain.get("lengthened_from"),
            choices={group: name for group, name in chosen.items() if "/" not in group},
            overrides=[] if hydra is None else list(hydra.overrides.task),
            reasons=_reasons(hydra),
            config=plain,
        )


def _classes_in(nodes: Mapping[str, Any]) -> dict[str, Recipe]:
    """Select the entries that name a class, by key."""
    return {name: Recipe(name, node) for name, node in nodes.items() if isinstance(node, dict) and "_target_" in node}


def _without_classes(nodes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: node for name, node in nodes.items() if name not in _classes_in(nodes)}


def _reasons(hydra: Any) -> list[str]:
    from tl_lab.config.natural import reasons_of

    return [] if hydra is None else list(reasons_of(hydra))
