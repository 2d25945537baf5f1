"""One run, from its configuration to its results: the only place where everything meets."""

import dataclasses
import logging
import math
import os
import shlex
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from tl_lab.config import config_hash, raise_if_wrong, to_plain
from tl_lab.config.catalogue import given_folders
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.config.natural import reasons_of
from tl_lab.data.base import DataModule
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.errors import UserError, nearest
from tl_lab.results.folder.files import write_text
from tl_lab.results.folder.metrics_csv import MetricsCsv
from tl_lab.results.folder.record import Record
from tl_lab.results.folder.references import known_reference
from tl_lab.results.folder.selection import read_rows, selection
from tl_lab.results.names import less_is_better
from tl_lab.results.screen import console
from tl_lab.results.screen.progress import progress_callback
from tl_lab.run.allocator import keep_freed_memory
from tl_lab.run.build import Parts, build, build_strategy, describe_weights, weights_hash
from tl_lab.run.checkpoints import WholeCheckpoints, is_trained, last_checkpoint, read_checkpoint, restore_problem
from tl_lab.run.figures import draw_figures
from tl_lab.run.plan import check_pairing, check_protocol, choice_of
from tl_lab.strategies.base import Strategy
from tl_lab.training.measuring import validation_metrics
from tl_lab.watching.health import reading
from tl_lab.watching.health_check import HealthCheck
from tl_lab.watching.validators.base import Validator
from tl_lab.watching.validators.measuring import Measuring
from tl_lab.watching.validators.reverse import ReverseValidation

__all__ = ["comparison_key", "run"]


def run(cfg: DictConfig) -> float | None:
    """Carry out one run in Hydra's folder: check, build, train, test, write everything.

    Args:
        cfg: the composed configuration; that of a resumed run is the one saved in its folder.

    Returns:
        For searches, the larger the better: the tested checkpoint's value of the validation metric ``sweep.objective``,
        with its sign changed where less is better; None if it has none, or none that is finite.

    Raises:
        UserError: a mistake in the configuration, the data or the files, in one sentence.
    """
    _quiet()
    keep_freed_memory()
    folder = _short(Path(HydraConfig.get().runtime.output_dir))
    record = Record(folder, writes=_is_first_process(), resumed=bool(cfg.resume))
    if record.completed:
        console.say("This run was complete already: nothing is trained; its results were")
        _report(cfg, folder, record)
        if not (folder / "figures").exists() and record.writes:
            _draw_again(cfg, folder, record)
        return record.content.get("objective")
    try:
        return _run(cfg, folder, record)
    except BaseException as error:
        record.fail(error)
        raise


def _run(cfg: DictConfig, folder: Path, record: Record) -> float | None:
    _begin(cfg, folder, record)
    raise_if_wrong(cfg)
    check_pairing(cfg)
    check_protocol(cfg)
    torch.set_num_threads(cfg.threads)
    checkpoint = last_checkpoint(folder) if cfg.resume else None
    advice = "put a good copy in its place, or delete it to start the run over"
    updates_done = (
        int(read_checkpoint(checkpoint, advice)["updates_done"]) if checkpoint else -1 if cfg.resume else None
    )
    parts = build(cfg)
    validators = _validators(cfg, parts)
    objective = _objective(cfg, parts.data, validators)
    trainer = _trainer(cfg, folder, parts.data, validators, _loggers(cfg, folder, updates_done))
    if trainer.world_size > 1 and any(validator.ranks_runs for validator in validators.values()):
        raise UserError("validator=reverse trains twice, which it does in one process: leave it out, or use one device")
    health = _health_check(cfg, trainer, parts, record)
    facts = _facts(cfg, parts, trainer)
    record.update(**facts)
    if trainer.is_global_zero:
        console.banner(_said(cfg, folder, parts, facts), title=f"tl_lab: {cfg.name}")
    _fit(cfg, trainer, parts, checkpoint)
    tested = _load_tested(cfg, folder, parts)
    # some facts are known after training only: how much importance weights leave of the source, a Fisher's trace
    record.update(protocol={**facts["protocol"], **parts.strategy.facts(), **parts.strategy.adaptation.facts()})
    trainer.test(parts.strategy, datamodule=parts.data, verbose=False)
    if trainer.is_global_zero:
        _finish(cfg, folder, parts, trainer, record, tested, health, validators, objective)
    return record.content.get("objective")


def _short(folder: Path) -> Path:
    """Name a folder below the current one the way a user would."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _is_first_process() -> bool:
    """Whether this process speaks and writes; asked before Lightning has set anything up."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def _begin(cfg: DictConfig, folder: Path, record: Record) -> None:
    """Leave a trace of the run before anything can go wrong with it."""
    facts = {"name": cfg.name, "seed": cfg.seed, "threads": cfg.threads, "config_hash": config_hash(cfg)}
    if folders := given_folders():
        facts["config_dirs"] = [str(one) for one in folders]
    # a run that goes on by itself has the defaults as Hydra's own choices
    if not cfg.resume or not (folder / "config.yaml").exists():
        facts["choices"] = {
            group: name for group, name in HydraConfig.get().runtime.choices.items() if "/" not in group
        }
        if record.writes:
            plain = to_plain(cfg) | {"resume": None}
            write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)))
    record.start(**facts, comparison_key=comparison_key(cfg))


def comparison_key(cfg: DictConfig) -> str:
    """Identify what runs share that differ in adaptation and seed only.

    Args:
        cfg: the run's configuration.

    Returns:
        A hash, 64 hexadecimal digits.
    """
    plain = to_plain(cfg)
    plain["data"].pop("seed", None)
    return config_hash({name: node for name, node in plain.items() if name not in ("domain_adaptation", "seed")})


# ---------------------------------------------------------------------- training


def _validators(cfg: DictConfig, parts: Parts) -> dict[str, Validator]:
    """Build the validators of a domain pair; with any, the oracle's curve is measured beside them."""
    data = parts.data
    if not data.paired or data.request.reveals_target:
        return {}
    built: dict[str, Validator] = {str(name): build_node(node) for name, node in (cfg.get("validator") or {}).items()}
    validators = {name: validator for name, validator in built.items() if data.problem.name in validator.problems}
    for validator in validators.values():
        validator.name_metric(data.problem)
    _measure_with(validators, parts.strategy)
    return validators


def _measure_with(validators: Mapping[str, Validator], strategy: Strategy) -> None:
    if measuring := [validator for validator in validators.values() if validator.measures]:
        strategy.scorers.append(Measuring(measuring))


def _run_scores(cfg: DictConfig, folder: Path, parts: Parts, validators: Mapping[str, Validator]) -> dict[str, float]:
    """Let those validators score the run that rank runs; they may train the same configuration once more."""

    def train(pair: DomainPair, weights: Mapping[str, Tensor] | None) -> float:
        again, own = Parts(pair, build_strategy(cfg, pair)), folder / "reverse"
        if weights is not None:
            again.strategy.network.load_state_dict(weights)
        _measure_with(validators, again.strategy)
        try:
            trainer = _trainer(cfg, own, pair, validators, [])
            _fit(cfg, trainer, again, None)
            _load_tested(cfg, own, again)
            trainer.test(again.strategy, datamodule=pair, verbose=False)
        finally:
            shutil.rmtree(own, ignore_errors=True)
        return again.strategy.last_test[f"test/target/{pair.problem.monitor}"]

    scores = {}
    for name, validator in validators.items():
        if validator.ranks_runs:
            console.say(f"validator={name}: the same configuration trains once more")
            try:
                scores[validator.metric] = validator.score_run(parts.strategy, cast(DomainPair, parts.data), train)
            except UserError as error:  # the run's own numbers stand
                warnings.warn(f"validator={name} has no score: {error}", stacklevel=2)
    return scores


def _trainer(
    cfg: DictConfig, folder: Path, data: DataModule, validators: Mapping[str, Validator], loggers: list[Logger]
) -> pl.Trainer:
    callbacks = _callbacks(cfg, folder, data, validators)
    try:
        trainer = build_node(
            cast(DictConfig, OmegaConf.merge(cfg.trainer, {"max_epochs": _epochs(cfg, data)})),
            # tasks differ in their data, and so may the number of batches
            reload_dataloaders_every_n_epochs=int(data.changes_by_epoch),
            inference_mode=class_of(cfg.strategy).inference_mode,
            callbacks=callbacks,
            logger=loggers,
            default_root_dir=str(folder),
            plugins=[WholeCheckpoints()],
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(f"trainer={choice_of(cfg, 'trainer')} cannot start: {error}") from error
    return cast(pl.Trainer, trainer)


def _epochs(cfg: DictConfig, data: DataModule) -> int:
    return data.total_epochs_for(int(cfg.trainer.max_epochs))


def _callbacks(cfg: DictConfig, folder: Path, data: DataModule, validators: Mapping[str, Validator]) -> list[Callback]:
    def watched(node: DictConfig) -> dict[str, Any]:
        name = data.monitor if node.monitor == "auto" else node.monitor
        valid = [*validation_metrics(data), *(v.metric for v in validators.values() if v.measures)]
        if name not in valid:
            raise UserError(
                f"callbacks may choose by a validation metric only, not by {name!r}; {nearest(name, valid)}"
            )
        return {"monitor": name, "mode": _mode(name, validators) if node.mode == "auto" else node.mode}

    checkpoint, stopping = cfg.callbacks.checkpoint, cfg.callbacks.early_stopping
    options: dict[str, Any] = {
        "dirpath": folder / "checkpoints",
        "every_n_epochs": checkpoint.every_n_epochs,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    callbacks: list[Callback] = [ModelCheckpoint(filename="last", **options)]
    if checkpoint.best and cfg.trainer.limit_val_batches != 0 and data.keeps_best:
        callbacks.insert(0, ModelCheckpoint(filename="best", **watched(checkpoint), **options))
    if stopping.enabled:
        callbacks.append(EarlyStopping(**watched(stopping), patience=stopping.patience, min_delta=stopping.min_delta))
    callbacks += _own_callbacks(cfg)
    bar = progress_callback(cfg.trainer.enable_progress_bar)
    return [*callbacks, *([bar] if bar else [])]


def _own_callbacks(cfg: DictConfig) -> list[Callback]:
    """Build the callbacks that the configuration adds to the run's own, each a node with a class."""
    built = {
        str(name): build_node(node)
        for name, node in cfg.callbacks.items()
        if OmegaConf.is_dict(node) and "_target_" in node
    }
    for name, callback in built.items():
        if not isinstance(callback, Callback):
            raise UserError(f"callbacks.{name} is a {type(callback).__name__}, and no callback of Lightning")
    return list(built.values())


def _mode(metric: str, validators: Mapping[str, Validator]) -> str:
    """Say whether a validation metric is better where it is larger, ``max``, or smaller, ``min``."""
    lowest = {validator.metric for validator in validators.values() if validator.mode == "min"}
    return "min" if metric in lowest or less_is_better(metric) else "max"


def _objective(cfg: DictConfig, data: DataModule, validators: Mapping[str, Validator]) -> tuple[str, int]:
    """Name the metric that a search optimises, and its sign: 1 where larger is better, -1 otherwise."""
    wanted = (cfg.get("sweep") or {}).get("objective", "auto")
    name = data.monitor if wanted == "auto" else wanted
    valid = [*validation_metrics(data), *(validator.metric for validator in validators.values())]
    if wanted != "auto" and name not in valid:
        raise UserError(f"sweep.objective may be a validation metric only, not {name!r}; {nearest(name, valid)}")
    return name, 1 if _mode(name, validators) == "max" else -1


def _health_check(cfg: DictConfig, trainer: pl.Trainer, parts: Parts, record: Record) -> HealthCheck | None:
    """Let the trainer measure the health of a run on two domains; a resumed run goes on from what was measured."""
    if not cfg.health or not parts.data.paired:
        return None
    check = HealthCheck(keep=lambda found: record.update(health=found), known=record.content.get("health"))
    trainer.callbacks.append(check)  # type: ignore[attr-defined]
    return check


def _loggers(cfg: DictConfig, folder: Path, updates_done: int | None) -> list[Logger]:
    loggers: list[Logger] = [MetricsCsv(folder / "metrics.csv", resume_step=updates_done)]
    if cfg.logger.mode != "disabled" and _is_first_process():
        from tl_lab.results.folder.weights_and_biases import wandb_logger

        sweep = HydraConfig.get().mode == RunMode.MULTIRUN
        group = Path(HydraConfig.get().sweep.dir).name if sweep else None
        extra = wandb_logger(cfg.logger, folder, cfg.name, list(cfg.tags), to_plain(cfg), group)
        loggers += [extra] if extra else []
    return loggers


def _fit(cfg: DictConfig, trainer: pl.Trainer, parts: Parts, checkpoint: Path | None) -> None:
    """Train, or go on training; a run that had come to the end of its training is left as it is."""
    if not parts.strategy.trains:
        trainer.validate(parts.strategy, datamodule=parts.data, verbose=False)
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")
        return
    if checkpoint is not None and is_trained(content := read_checkpoint(checkpoint), _epochs(cfg, parts.data)):
        parts.strategy.load_state_dict(content["state_dict"])
        parts.strategy.updates_done = content["updates_done"]
        parts.strategy.last_validation = content["last_validation"]
        restore_problem(parts.data.problem, content)
        return
    try:
        # Lightning reads checkpoints as data only; what is in ours are tensors, numbers and names
        trainer.fit(parts.strategy, datamodule=parts.data, ckpt_path=checkpoint)
    except MisconfigurationException as error:
        raise UserError(f"training cannot start: {error}") from error
    if trainer.interrupted:
        raise KeyboardInterrupt
    if parts.strategy.updates_done == 0:
        raise UserError("nothing was trained: trainer.limit_train_batches leaves no batch of an epoch")


def _load_tested(cfg: DictConfig, folder: Path, parts: Parts) -> str:
    """Load the checkpoint that is tested, with its validation scores, and say which it is."""
    if not parts.strategy.trains:
        return "untrained (the backbone as it was given)"
    if cfg.evaluate == "last":
        return f"last (after {parts.strategy.updates_done} updates)"
    content = read_checkpoint(folder / "checkpoints" / "best.ckpt")
    parts.strategy.load_state_dict(content["state_dict"])
    parts.strategy.last_validation = content["last_validation"]
    restore_problem(parts.data.problem, content)
    return f"best on validation (after {content['updates_done']} updates)"


# ---------------------------------------------------------------------- what is written and said


def _facts(cfg: DictConfig, parts: Parts, trainer: pl.Trainer) -> dict[str, Any]:
    strategy, data = parts.strategy, parts.data
    return {
        "data_hash": data.fingerprint(),
        "problem": {"name": data.problem.name, "monitor": data.problem.monitor},
        "sizes": {name: len(samples) for name, samples in data.sets.items()},
        "parameters": {
            "total": sum(parameter.numel() for parameter in strategy.parameters()),
            "trainable": sum(parameter.numel() for parameter in strategy.learned_parameters()),
        },
        "device": _device(trainer),
        "oracle": strategy.adaptation.oracle,
        "weights": {"from": describe_weights(cfg), "sha256": weights_hash(cfg)},
        "protocol": {
            **data.facts(),
            **strategy.facts(),
            **strategy.adapter.facts(),
            **strategy.adaptation.facts(),
            **_parallel_facts(cfg, parts, trainer),
            **({"settings": chosen} if (chosen := (cfg.get("sweep") or {}).get("chosen")) else {}),
        },
    }


def _parallel_facts(cfg: DictConfig, parts: Parts, trainer: pl.Trainer) -> dict[str, str]:
    """Say where several processes compute something else than one would."""
    if trainer.world_size == 1:
        return {}
    facts, modules = {}, list(parts.strategy.modules())
    normalises = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)
    if normalises and not cfg.trainer.get("sync_batchnorm"):
        facts["batch-norm sees"] = f"{cfg.data.batch_size // trainer.world_size} samples, each process its share"
    if any(isinstance(module, nn.Dropout) and module.p for module in modules):
        facts["dropout"] = "each process draws its own"
    if parts.data.augmentation is not None and parts.data.augmentation.active:
        facts["augmentation"] = "each process draws its own"
    if parts.strategy.adaptation.couples_samples:
        facts["the adaptation's loss compares"] = f"{cfg.data.batch_size // trainer.world_size} samples of each domain"
    return facts


def _said(cfg: DictConfig, folder: Path, parts: Parts, facts: dict[str, Any]) -> dict[str, Any]:
    network, adapter = parts.strategy.network, parts.strategy.adapter
    return {
        "chosen": [] if cfg.resume else reasons_of(HydraConfig.get()),
        "data": parts.data.describe_sizes(),
        "prepared": "; ".join(parts.data.notes),
        "backbone": f"{type(network.backbone).__name__}, {network.backbone.extra_repr()}",
        "weights": describe_weights(cfg),
        "parameters": facts["parameters"],
        "layers": parts.strategy.describe_layers(),
        **({"adapter": adapter.describe()} if adapter.changes_backbone else {}),
        "adaptation": f"{type(parts.strategy.adaptation).__name__}({parts.strategy.adaptation.extra_repr()})",
        "device": f"{facts['device']}, {cfg.threads} thread{'s' if cfg.threads != 1 else ''}",
        "seed": cfg.seed,
        "folder": folder,
    }


def _device(trainer: pl.Trainer) -> str:
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"


def _finish(
    cfg: DictConfig,
    folder: Path,
    parts: Parts,
    trainer: pl.Trainer,
    record: Record,
    tested: str,
    health: HealthCheck | None,
    validators: Mapping[str, Validator],
    objective: tuple[str, int],
) -> None:
    """Write figures and results, and print the table."""
    validation = parts.strategy.last_validation
    metrics = {name: value for name, value in validation.items() if not name.startswith("oracle/")}
    metrics |= parts.strategy.last_test
    metrics |= _run_scores(cfg, folder, parts, validators)
    for logger in trainer.loggers:
        logger.finalize("success")
    if health is not None:
        rows = next(logger.rows for logger in trainer.loggers if isinstance(logger, MetricsCsv))
        found = health.health(parts.strategy.adaptation, rows, validation, f"val/source/{parts.data.problem.monitor}")
        record.update(health={**health.measured, **dataclasses.asdict(found), "reading": reading(found)})
        metrics |= health.metrics()
    chosen_by = {name: (validator.metric, validator.mode) for name, validator in validators.items()}
    chosen = selection(read_rows(folder / "metrics.csv"), chosen_by)
    value = objective[1] * metrics.get(objective[0], math.nan)
    record.complete(
        metrics,
        tested_checkpoint=tested,
        selection=chosen,
        objective=value if math.isfinite(value) else None,
        objective_metric=objective[0],
        **parts.strategy.artifacts(folder, parts.data),
    )
    try:
        _show(cfg, folder, parts, metrics, chosen)
    except Exception as error:  # the numbers stand
        warnings.warn(f"the results are written, but not all figures ({type(error).__name__}: {error})", stacklevel=2)
    record.update()
    _report(cfg, folder, record)


def _show(cfg: DictConfig, folder: Path, parts: Parts, metrics: dict[str, float], chosen: list[dict[str, Any]]) -> None:
    """Draw the figures, and give them and the final metrics to W&B."""
    # in a sweep they would take longer than many a run
    wanted = HydraConfig.get().mode != RunMode.MULTIRUN if cfg.figures == "auto" else cfg.figures
    figures = draw_figures(folder, parts.strategy, parts.data, chosen) if wanted else {}
    if cfg.logger.mode != "disabled":
        from tl_lab.results.folder.weights_and_biases import finish_wandb, log_figures

        if cfg.logger.log_figures:
            log_figures(figures)
        finish_wandb(metrics)


def _draw_again(cfg: DictConfig, folder: Path, record: Record) -> None:
    """Draw the figures of a run that has none, from its tested checkpoint."""
    torch.set_num_threads(cfg.threads)
    parts = build(cfg)
    if record.content["tested_checkpoint"].startswith("best"):
        _load_tested(cfg, folder, parts)
    else:
        content = read_checkpoint(folder / "checkpoints" / "last.ckpt")
        parts.strategy.load_state_dict(content["state_dict"])
    trainer = _trainer(cfg, folder, parts.data, {}, [])
    trainer.test(parts.strategy, datamodule=parts.data, verbose=False)
    draw_figures(folder, parts.strategy, parts.data, record.content.get("selection") or ())
    console.say(f"figures: {folder / 'figures'}")


def _report(cfg: DictConfig, folder: Path, record: Record) -> None:
    content = record.content
    reference = known_reference(content, folder)
    protocol = dict(content["protocol"])
    if reference is not None:
        protocol["source-only reference"] = reference.origin
    console.final_table(
        content["metrics"],
        reference=None if reference is None else reference.accuracies(),
        seed=content["seed"],
        tested_checkpoint=content["tested_checkpoint"],
        protocol=protocol,
    )
    if content.get("health"):
        console.health(content["health"])
    if len({row["epoch"] for row in content.get("selection") or ()}) > 1:
        console.selection(content["selection"])
    if (score := content["metrics"].get(ReverseValidation.metric)) is not None:
        console.say(f"Reverse validation: accuracy {100 * score:.1f} % on the way back; it compares runs.")
    if HydraConfig.get().mode != RunMode.MULTIRUN:  # a sweep speaks at its end
        console.next_steps(folder, _hints(cfg, folder))


def _hints(cfg: DictConfig, folder: Path) -> list[tuple[str, str]]:
    """Say what to try next, as commands that can be copied."""
    python = "uv run python" if "UV" in os.environ else "python"
    outside = "".join(f" --config-dir {shlex.quote(str(one))}" for one in given_folders())
    hints = [("all choices", f"{python} -m tl_lab list{outside}")]
    data: Any = class_of(cfg.data)
    streams = "tasks" in data.traits
    if "episodes" not in data.traits and not (streams and data.scrambles):
        which = " --task 1" if streams and cfg.data.scenario == "task" else ""
        predict = f"{python} -m tl_lab predict {folder} <folder of images>{which}{outside}"
        hints.insert(0, ("label images of your own", predict))
    adaptation: Any = class_of(cfg.domain_adaptation)
    if not adaptation.needs_target or cfg.resume:
        return hints
    given = [text for text in HydraConfig.get().overrides.task if not text.startswith("seed=")]
    others = [text for text in given if not text.startswith("domain_adaptation")]
    own = "".join(f" {shlex.quote(text)}" for text in given)
    rest = "".join(f" {shlex.quote(text)}" for text in others)
    seeds = "seed=0,1,2,3,4"
    hints.insert(
        0, ("the same without adaptation", f"{python} train.py{outside} domain_adaptation=none seed={cfg.seed}{rest}")
    )
    if any(text.startswith("domain_adaptation.") for text in given):
        hints.insert(1, ("this run over five seeds", f"{python} train.py{outside} -m {seeds}{own}"))
    else:
        compared = f"domain_adaptation=none,{choice_of(cfg, 'domain_adaptation')}"
        hints.insert(1, ("a comparison over five seeds", f"{python} train.py{outside} -m {compared} {seeds}{rest}"))
    return hints


def _quiet() -> None:
    """Silence what says nothing about this run; its own banner says the rest."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen layers, teachers
    warnings.filterwarnings("ignore", message=".*[Cc]heckpoint directory .* exists and is not empty.*")
