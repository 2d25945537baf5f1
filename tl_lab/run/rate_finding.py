"""``update.lr_find``: a range test before a run, which determines its learning rate."""

import csv
import functools
import io
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from omegaconf import OmegaConf
from pytorch_lightning.utilities.seed import isolate_rng

from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_text
from tl_lab.results.folder.rate_range import RATE_RANGE
from tl_lab.results.folder.record import Record
from tl_lab.results.screen import console
from tl_lab.run.build import Parts, build_strategy
from tl_lab.run.length import batches_within, epochs_of
from tl_lab.run.plan import Plan
from tl_lab.strategies.base import Strategy
from tl_lab.training.rate_range import RangeTest, choose_rate, rates_of, smoothed
from tl_lab.training.schedules import Schedule
from tl_lab.training.step import Diverged

__all__ = ["check_rate_finding", "with_found_rate"]


def check_rate_finding(plan: Plan) -> None:
    """Refuse a range test if there is no learning rate to find.

    Args:
        plan: of the run.

    Raises:
        UserError: nothing is trained, the learning rate is given, or several processes would each find one.
    """
    if not plan.update.get("lr_find"):
        return
    if not plan.strategy.kind.trains:
        raise UserError(
            f"update.lr_find=true: strategy={plan.strategy.choice} trains nothing, so there is no learning rate to find"
        )
    given = [text for text in plan.overrides if text.lstrip("+").startswith("optimizer.lr=")]
    if given and not plan.resumes:
        raise UserError(f"update.lr_find=true chooses the learning rate, and {given[0]} sets it: leave one of them out")
    devices, nodes = plan.trainer.option("devices"), plan.trainer.option("num_nodes", 1)
    if nodes != 1 or not (devices == 1 or (isinstance(devices, list) and len(devices) == 1)):
        raise UserError(
            "update.lr_find=true runs in one process: find the rate with trainer.devices=1, and set it in runs "
            "of several processes as optimizer.lr"
        )


def with_found_rate(plan: Plan, parts: Parts, folder: Path, record: Record) -> tuple[Plan, Parts]:
    """Set the learning rate of a run by a range test; a resumed run keeps the rate with which it started.

    The test trains the networks that were built. Everything it changed is built again, random streams are
    restored, and the order of batches is a function of the epoch, so that the run equals one with this rate given.

    Args:
        plan: of the run.
        parts: built for it; they are consumed.
        folder: of the run, to which the curve is written; the rate is written into its configuration.
        record: of the run, which stores the rate.

    Returns:
        The plan with the rate, and parts built anew.

    Raises:
        UserError: the loss decreased at no rate.
    """
    if not plan.update.get("lr_find"):
        return plan, parts
    if (known := record.content.get("lr_find")) is None:
        console.say("update.lr_find: testing the first updates at increasing learning rates")
        known = _find(plan, parts, folder)
        parts = Parts(parts.data, build_strategy(plan, parts.data))
        _write_rate(folder, known["rate"])
        record.update(lr_find=known)
    rate = known["rate"]
    _set_rate(parts.strategy, rate)
    config = {**plan.config, "optimizer": {**plan.config["optimizer"], "lr": rate}}
    return replace(plan, optimizer=plan.optimizer.with_options(lr=rate), config=config, found_rate=rate), parts


def _set_rate(strategy: Strategy, rate: float) -> None:
    make_optimizer: Any = strategy.make_optimizer
    strategy.make_optimizer = functools.partial(make_optimizer, lr=rate)


def _find(plan: Plan, parts: Parts, folder: Path) -> dict[str, float]:
    test = RangeTest(parts.strategy, rates_of())
    with isolate_rng():
        _train(plan, parts, folder, test)
    rates, losses = [rate for rate, _ in test.curve], [loss for _, loss in test.curve]
    _write_curve(folder, rates, losses)
    rate = choose_rate(rates, losses)
    if rate is None:
        raise UserError(
            f"update.lr_find=true: the loss did not decrease at any rate from {rates[0] if rates else math.nan:.0e} to "
            f"{rates[-1] if rates else math.nan:.0e}: check the inputs, or give optimizer.lr"
        )
    return {"rate": rate, "updates": len(rates)}


def _train(plan: Plan, parts: Parts, folder: Path, test: RangeTest) -> None:
    """Perform one update per rate, at the progress of the run's first updates."""
    strategy, data = parts.strategy, parts.data
    batches = batches_within(len(data.train_dataloader()), plan.trainer.option("limit_train_batches"))
    updates = max(1, -(-batches // plan.update["accumulate_batches"]))
    epochs = math.ceil(len(test.rates) / updates)
    _set_rate(strategy, 1.0)  # the schedule gives rates, not factors
    strategy.max_updates = max(len(test.rates) + 1, plan.max_updates or updates * epochs_of(plan, data))
    strategy.schedule, strategy.graph = cast(Schedule, test), False
    trainer: pl.Trainer = (
        plan.trainer.with_options(
            max_epochs=epochs,
            limit_val_batches=0,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
            profiler=None,
        )
        .without("max_updates")
        .build(
            reload_dataloaders_every_n_epochs=int(data.changes_by_epoch),
            sync_batchnorm=False,
            enable_checkpointing=False,
            logger=[test],
            default_root_dir=str(folder),
        )
    )
    test.trainer = trainer
    # one epoch more, so that a stream stays in its first task
    with data.rehearsing(epochs_per_task=epochs + 1), suppress(Diverged):  # the curve ends at divergence
        trainer.fit(strategy, datamodule=data)
    if trainer.interrupted:
        raise KeyboardInterrupt


def _write_curve(folder: Path, rates: list[float], losses: list[float]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("rate", "loss", "smoothed"))
    writer.writerows(zip(rates, losses, smoothed(losses), strict=True))
    write_text(folder / RATE_RANGE, text.getvalue())


def _write_rate(folder: Path, rate: float) -> None:
    """Write the rate into the run's configuration."""
    config = OmegaConf.load(folder / "config.yaml")
    config.optimizer.lr = rate
    write_text(folder / "config.yaml", OmegaConf.to_yaml(config))
