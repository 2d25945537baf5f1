"""Forgetting of a run's backbone: its score on an earlier task, before training and after."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch

from tl_lab.adapters.before_tokens import BeforeTokens
from tl_lab.adapters.of_each_task import OfEachTask
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import foreign
from tl_lab.config.stored import read_stored
from tl_lab.config.trust import check_foreign
from tl_lab.data.base import DataModule
from tl_lab.data.request import Request
from tl_lab.errors import UserError
from tl_lab.results.tables.forgetting import AFTER, BEFORE
from tl_lab.run.build import Parts
from tl_lab.run.plan import Plan, Recipe
from tl_lab.run.weights import used_weights
from tl_lab.watching.base_task import BaseTask, base_task

__all__ = ["Forgetting", "watched_task"]


class Forgetting:
    """Scores a task on which the weights of a run were trained before, at the start and at the end.

    Args:
        task: the earlier task.
        keep: called with the first measurement, to save it for a resumed run.
        known: measurements of an interrupted run.
        device: where the task is scored; parameters of 4 bits exist on the device of training only.
    """

    def __init__(
        self,
        task: BaseTask,
        keep: Callable[[dict[str, Any]], None],
        known: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._task, self._keep, self.measured, self._device = task, keep, dict(known or {}), device

    def begin(self, parts: Parts) -> None:
        """Score the backbone as built, before anything is trained or loaded."""
        if "before" not in self.measured:
            self.measured |= {"task": self._task.description, "metric": self._task.metric, "before": self._score(parts)}
            self._keep(self.measured)

    def end(self, parts: Parts) -> dict[str, float]:
        """Score the tested backbone, and return both scores as metrics."""
        self.measured["after"] = self._score(parts)
        metric = self._task.metric
        return {f"{BEFORE}/{metric}": self.measured["before"], f"{AFTER}/{metric}": self.measured["after"]}

    def _score(self, parts: Parts) -> float:
        strategy = parts.strategy
        before = strategy.device
        strategy.to(self._device)
        try:
            with torch.random.fork_rng(devices=[]):  # the random numbers of the run do not change
                return self._task.score(strategy.network.backbone)
        finally:
            strategy.to(before)


def watched_task(plan: Plan, parts: Parts, trainer: pl.Trainer) -> BaseTask | None:
    """Find the task that a run may forget: its backbone is trained from pretrained weights, and the task exists.

    Prompts and prefixes do not change the backbone, adapters of several tasks make several backbones of it, and several
    processes do not share its scores: all three return None.

    Args:
        plan: of the run.
        parts: built from it.
        trainer: of the run.
    """
    strategy = parts.strategy
    if not plan.forgetting or not strategy.trains or trainer.world_size > 1:
        return None
    if isinstance(strategy.adapter, BeforeTokens | OfEachTask):
        return None
    backbone = strategy.network.backbone
    recipe, init_from = used_weights(plan)
    learned = init_from is not None or recipe.option("pretrained") or recipe.option("weights")
    if not learned or not strategy.learned_by_name(backbone):
        return None
    try:
        return base_task(backbone, None if init_from is None else _data_of(init_from))
    except UserError:  # the earlier run's data no longer exist
        return None


def _data_of(run: Path) -> DataModule:
    """Load the data of an earlier run as that run did."""
    cfg = read_stored(run, ("data",))
    check_foreign({"data": cfg.data}, run / "config.yaml")
    with foreign(run / "config.yaml"):
        data = cast(DataModule, Recipe("data", to_plain(cfg)["data"]).build())
    data.load(Request())
    return data
