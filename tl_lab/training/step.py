"""The step of training: rates, objective, backward pass, gradients, clipping, optimizer, log; the same for all."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch.optim import Optimizer

from tl_lab.data.batches import DomainBatch, Episode, Labelled
from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.errors import UserError
from tl_lab.training.objective import Objective
from tl_lab.training.schedules import Schedule

__all__ = ["Step"]


class Step(Objective):
    """Makes one update for each phase of a batch."""

    schedule: Schedule
    gradient_clip_norm: float | None
    accumulate_batches: int

    @property
    def updates_per_epoch(self) -> int:
        """Optimizer updates in an epoch."""
        return -(-int(self.trainer.num_training_batches) // self.accumulate_batches)

    @property
    def progress(self) -> float:
        """Share of the run's updates that are done, in [0, 1]."""
        return self.updates_done / max(1, self.updates_per_epoch * (self.trainer.max_epochs or 1))

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Make one update for each phase of the adaptation, from a Labelled, a DomainBatch or an Episode."""
        optimizer = self.optimizers()
        progress = self.progress
        factor = self.schedule(progress)
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = group["base_lr"] * factor
        source: Labelled | Episode = batch.source if isinstance(batch, DomainBatch) else batch
        target = None if isinstance(batch, Labelled) else batch.target
        batches = int(self.trainer.num_training_batches)
        last = batch_idx + 1 == batches
        updates = (batch_idx + 1) % self.accumulate_batches == 0 or last
        # the last group of an epoch may hold fewer batches
        group = min(self.accumulate_batches, batches - batch_idx // self.accumulate_batches * self.accumulate_batches)
        now = Update(progress, self.updates_done)
        self.adaptation.before_update(self.network, now)
        for phase in self.adaptation.phases(progress):
            loss = self.objective(source, target, replace(now, phase=phase.name), phase, watched=last)
            self.manual_backward(loss / group)
            if updates:
                self._update(optimizer, phase)
        if updates:
            self.adaptation.after_update(self.network, now)
        self.updates_done += updates
        if last or (batch_idx + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._flush(lr=optimizer.param_groups[-1]["lr"])  # type: ignore[union-attr]

    def _update(self, optimizer: Any, phase: Phase) -> None:
        for name, part in self.parts().items():
            if name not in phase.learns:
                part.zero_grad()
        optimizer.step()
        optimizer.zero_grad()
        self.on_update()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Hand the gradients to the strategy and clip them, after half precision's loss scale was taken out."""
        self.on_gradients()
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")

    def write(self, metrics: Mapping[str, float]) -> None:
        """Hand metrics to the loggers, under the current update."""
        epoch = {"epoch": self.current_epoch} if self.trainer.state.fn == TrainerFn.FITTING else {}
        for logger in self.loggers:
            logger.log_metrics({**epoch, **metrics}, step=self.updates_done)

    def _flush(self, lr: float) -> None:
        """Log the means of all terms since the last time; stop if one of them is not finite."""
        names = list(self._sums)
        means = torch.stack([torch.as_tensor(self._sums[name], dtype=torch.float32).cpu() for name in names])
        means = means / torch.tensor([self._counts[name] for name in names])
        if self.trainer.world_size > 1:
            means = self.trainer.strategy.reduce(means.to(self.device), reduce_op="mean").cpu()
        values = dict(zip(names, means.tolist(), strict=True))
        if wrong := [name for name in names if not math.isfinite(values[name])]:
            raise self.diverged(" and ".join(wrong))
        self._sums, self._counts = {}, {}
        self.log("train/loss", values["loss"], prog_bar=True, logger=False)
        self.write({**{f"train/{name}": value for name, value in values.items()}, "train/lr": lr})

    def diverged(self, what: str) -> UserError:
        """Say that training diverged, and what to do."""
        return UserError(
            f"training diverged: {what} became NaN or infinite by update {self.updates_done} (epoch "
            f"{self.current_epoch}): lower optimizer.lr or set update.gradient_clip_norm, and check the inputs' range; "
            "checkpoints of earlier epochs are intact"
        )
