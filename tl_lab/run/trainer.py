"""Lightning's trainer for a plan: callbacks, loggers, and the choice of the best checkpoint."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import (
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from pytorch_lightning.loggers import Logger

from tl_lab.config.instantiate import is_foreign
from tl_lab.config.validate import taken_by
from tl_lab.data.base import DataModule
from tl_lab.errors import UserError, nearest
from tl_lab.results.folder.metrics_csv import MetricsCsv, RowsBeforeCheckpoints
from tl_lab.results.names import less_is_better
from tl_lab.results.screen.progress import progress_callback
from tl_lab.run.checkpoints import WholeCheckpoints
from tl_lab.run.length import epochs_of
from tl_lab.run.parallel import choose_port
from tl_lab.run.plan import Checkpointing, Plan, Recipe, Stopping
from tl_lab.training.measuring import validation_metrics
from tl_lab.watching.validators.base import Validator

__all__ = ["direction", "is_first_process", "make_loggers", "make_trainer", "prepare_machine"]

_CLUSTERS = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)


def is_first_process() -> bool:
    """Whether this process prints and writes; evaluated before Lightning has set anything up."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def prepare_machine(plan: Plan) -> None:
    """Apply the settings of PyTorch that hold for the whole process.

    Raises:
        UserError: the trainer requires a GPU, and there is none, or several machines, and nothing starts them.
    """
    accelerator = plan.trainer.option("accelerator")
    if accelerator in ("gpu", "cuda") and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        on_cpu = "cpu" in str(plan.trainer.choice)  # the choice alone does not need one
        given = f"trainer.accelerator={accelerator}" if on_cpu else f"trainer={plan.trainer.choice}"
        remedy = "leave it out" if on_cpu else "use trainer=cpu"
        raise UserError(f"{given} needs a GPU, and PyTorch finds none: {remedy}")
    nodes = plan.trainer.option("num_nodes", 1)
    if nodes > 1 and "MASTER_ADDR" not in os.environ and not any(cluster.detect() for cluster in _CLUSTERS):
        raise UserError(
            f"trainer.num_nodes={nodes} would wait for machines that nothing starts: run it by Slurm, torchrun or "
            "mpirun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK on each machine"
        )
    torch.set_num_threads(plan.threads)
    # otherwise Lightning sets the number of threads of each process it starts
    os.environ.setdefault("OMP_NUM_THREADS", str(plan.threads))
    torch.set_float32_matmul_precision(plan.precision_of_matmul)
    # deterministic runs would fill each new tensor with NaN, one more kernel launch for each; such memory is never read
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def make_trainer(
    plan: Plan, folder: Path, data: DataModule, validators: Mapping[str, Validator], loggers: list[Logger]
) -> pl.Trainer:
    callbacks = _callbacks(plan, folder, data, validators)
    try:
        trainer = (
            plan.trainer.with_options(max_epochs=epochs_of(plan, data))
            .without("max_updates")
            .build(
                # tasks differ in their data, and possibly in their number of batches
                reload_dataloaders_every_n_epochs=int(data.changes_by_epoch),
                sync_batchnorm=False,  # done in place before training: Lightning would replace the modules
                inference_mode=plan.strategy.kind.inference_mode,
                callbacks=callbacks,
                logger=loggers,
                default_root_dir=str(folder),
                plugins=[WholeCheckpoints()],
            )
        )
    except UserError:
        raise
    except Exception as error:  # of devices, their drivers and their packages
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"trainer={plan.trainer.choice} cannot start: {reason}") from error
    choose_port(trainer)
    return cast(pl.Trainer, trainer)


def _callbacks(plan: Plan, folder: Path, data: DataModule, validators: Mapping[str, Validator]) -> list[Callback]:
    def watched(node: Checkpointing | Stopping) -> dict[str, Any]:
        name = data.monitor if node.monitor == "auto" else node.monitor
        valid = [*validation_metrics(data), *(v.metric for v in validators.values() if v.measures)]
        if name not in valid:
            raise UserError(f"callbacks may monitor a validation metric only, not {name!r}; {nearest(name, valid)}")
        return {"monitor": name, "mode": direction(name, validators) if node.mode == "auto" else node.mode}

    checkpoint, stopping = plan.checkpointing, plan.stopping
    options: dict[str, Any] = {
        "dirpath": folder / "checkpoints",
        "every_n_epochs": checkpoint.every_n_epochs,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    callbacks: list[Callback] = [RowsBeforeCheckpoints(), ModelCheckpoint(filename="last", **options)]
    if checkpoint.best and plan.trainer.option("limit_val_batches") != 0 and data.keeps_best:
        callbacks.insert(1, ModelCheckpoint(filename="best", **watched(checkpoint), **options))
    for node in (checkpoint, stopping):
        if node.monitor != "auto":
            watched(node)  # a wrong name is an error even if the callback is not used
    if stopping.enabled:
        callbacks.append(EarlyStopping(**watched(stopping), patience=stopping.patience, min_delta=stopping.min_delta))
    callbacks += _own_callbacks(plan)
    bar = progress_callback(plan.trainer.option("enable_progress_bar"))
    return [*callbacks, *([bar] if bar else [])]


def _own_callbacks(plan: Plan) -> list[Callback]:
    """Build the additional callbacks of the configuration, each a node with a class."""
    built = {name: recipe.build() for name, recipe in plan.callbacks.items()}
    for name, callback in built.items():
        if not isinstance(callback, Callback):
            raise UserError(f"callbacks.{name} is a {type(callback).__name__}, not a callback of Lightning")
        if isinstance(callback, StochasticWeightAveraging):  # sets rates, and averages after the last checkpoint
            raise UserError(
                f"callbacks.{name}: Lightning's StochasticWeightAveraging changes neither the rates of a strategy's "
                "updates nor the checkpoint that is tested: use callbacks=swa"
            )
    return list(built.values())


def direction(metric: str, validators: Mapping[str, Validator]) -> str:
    """Return whether a validation metric is better if larger, ``max``, or smaller, ``min``."""
    lowest = {validator.metric for validator in validators.values() if validator.mode == "min"}
    return "min" if metric in lowest or less_is_better(metric) else "max"


def make_loggers(plan: Plan, folder: Path, updates_done: int | None) -> list[Logger]:
    """Build the table of metrics, W&B if it is used, and the additional loggers of the configuration.

    Args:
        plan: of the run.
        folder: of the run; each further logger gets a folder of its name in it.
        updates_done: by the checkpoint of a resumed run; None for a new run.

    Raises:
        UserError: a package is missing, or a node is not a logger.
    """
    loggers: list[Logger] = [MetricsCsv(folder / "metrics.csv", resume_step=updates_done)]
    name = f"{plan.name}-seed{plan.seed}"
    if plan.logger["mode"] != "disabled" and is_first_process():
        from tl_lab.results.folder.weights_and_biases import wandb_logger

        extra = wandb_logger(plan.logger, folder, name, list(plan.tags), dict(plan.config), plan.sweep.name)
        loggers += [extra] if extra else []
    return loggers + [_further_logger(key, recipe, folder, name, plan) for key, recipe in plan.loggers.items()]


def _check_place(key: str, node: Mapping[str, Any], folder: Path) -> None:
    """Refuse a stored configuration whose logger writes outside its folder, or to a server that is not the user's.

    Raises:
        UserError: it does.
    """
    inside, base = folder.resolve(), Path(node.get("save_dir") or node.get("root_dir") or folder / key)
    parts = [str(node[one]) for one in ("name", "version", "sub_dir", "prefix", "run_id") if node.get(one) is not None]
    places = [Path(str(node[one])) for one in ("save_dir", "root_dir", "dir") if node.get(one) is not None]
    for place in [*places, base.joinpath(*parts)]:
        if not place.resolve().is_relative_to(inside):
            raise UserError(
                f"the stored configuration lets logger.{key} write to {str(place)!r}, outside the run's folder: take "
                "that option out of config.yaml, or start a new run with it"
            )
    servers = [str(node[one]) for one in ("tracking_uri", "artifact_location", "host") if node.get(one) is not None]
    if servers and os.environ.get("MLFLOW_TRACKING_URI") not in servers:
        raise UserError(
            f"the stored configuration lets logger.{key} send to {servers[0]!r}: set MLFLOW_TRACKING_URI to that, too, "
            "if it is your server"
        )


def _further_logger(key: str, recipe: Recipe, folder: Path, name: str, plan: Plan) -> Logger:
    """Build a logger of the configuration, with the run's folder and name as defaults."""
    known = {"save_dir": str(folder / key), "run_name": name}
    taken = taken_by(str(recipe.node["_target_"])).hints
    given = {option: value for option, value in known.items() if option in taken and recipe.option(option) is None}
    if is_foreign():
        _check_place(key, recipe.node, folder)
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder of the run, unless a server is named
    try:
        logger = recipe.build(**given)
        if not isinstance(logger, Logger):
            raise UserError(f"logger.{key} is a {type(logger).__name__}, not a logger of Lightning")
        logger.log_hyperparams(dict(plan.config))
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"logger={key} needs a package that is not installed: {error}".rstrip(".")) from error
    except Exception as error:  # services fail in many ways
        raise UserError(f"logger={key} cannot start ({str(error).partition(chr(10))[0]}): leave it out") from error
    return logger
