"""The training step of all strategies: learning rates, objective, backward pass, clipping, optimizer step, log."""

import math
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from tl_lab.data.batches import Deferred, DomainBatch, Episode, Labelled, Unlabelled
from tl_lab.domain_adaptation.base import Phase, Update
from tl_lab.errors import UserError
from tl_lab.results.screen import console
from tl_lab.training.batches_at_once import looks_at_batches, next_batch
from tl_lab.training.fused import fuse, fuses, merged_groups
from tl_lab.training.means import Reading
from tl_lab.training.objective import Objective
from tl_lab.training.replay import Replayer, acts_within_updates, obstacle
from tl_lab.training.schedules import Schedule

__all__ = ["Diverged", "Step"]


_HOOKS = ("on_before_backward", "on_after_backward", "backward", "optimizer_step")


class Diverged(UserError):
    """A value in training is not finite."""


class _Row(NamedTuple):
    """Means for a log entry, with the training progress at which they were read."""

    reading: Reading
    rate: float
    updates: int
    epoch: int


class Step(Objective):
    """Performs one update for each phase of a batch."""

    schedule: Schedule
    gradient_clip_norm: float | None
    accumulate_batches: int
    graph: bool | str
    not_seen: str | None = None
    """Reason why ``graph="auto"`` does not replay; None if stored results show that the run's choices can be."""
    max_updates: int | None = None
    """Number of updates of the whole run; None if the run is limited by epochs."""
    takes_several: bool = False
    """Whether a training step also processes the batches that follow the given one."""
    calls_directly: bool = False
    """Whether gradients and optimizer are called without Lightning's hooks, none of which would do anything."""
    cuts_before: bool = False
    """Whether batches are cut before an update because cutting them turned out not to be replayable."""
    replayer: Replayer | None
    """Replays updates as graphs; None if each kernel is launched separately."""
    last_loss: float | None
    """Last logged value of the objective."""
    _unwritten: _Row | None
    _epoch_began_at: int = 0

    @property
    def updates_done(self) -> int:
        """Number of updates done before this one."""
        if self.recording is not None:
            self.recording.object_to("the code reads the number of updates")
        return self._updates_done

    @updates_done.setter
    def updates_done(self, number: int) -> None:
        self._updates_done = number

    @property
    def current_epoch(self) -> int:
        """Epoch, counted from 0."""
        if self.recording is not None:
            self.recording.object_to("the code reads the epoch's number")
        return super().current_epoch

    @property
    def updates_per_epoch(self) -> int:
        """Number of optimizer updates in an epoch."""
        return -(-int(self.trainer.num_training_batches) // self.accumulate_batches)

    @property
    def batches_of_epoch(self) -> int:
        """Number of batches of this epoch; the last epoch may have fewer if the run's length is given in updates."""
        batches = int(self.trainer.num_training_batches)
        if self.max_updates is None:
            return batches
        return min(batches, (self.max_updates - self._epoch_began_at) * self.accumulate_batches)

    @property
    def progress(self) -> float:
        """Completed share of the run's updates, in [0, 1]."""
        return self.updates_done / (self.max_updates or max(1, self.updates_per_epoch * (self.trainer.max_epochs or 1)))

    def replay_key(self) -> Hashable:
        """Return a key of the conditions, besides batch and modes, on which the code of updates depends (the task)."""
        return None

    def on_train_start(self) -> None:
        """Choose how updates run on a GPU, after optimizer states have been restored."""
        super().on_train_start()
        self.replayer = None
        self.calls_directly = (
            type(self.trainer.strategy) is SingleDeviceStrategy
            and self.trainer.precision in ("32-true", "bf16-mixed")
            and isinstance(self.trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
            and acts_within_updates(self.trainer) is None
            and all(getattr(type(self), hook) is getattr(pl.LightningModule, hook) for hook in _HOOKS)
        )
        self.cuts_before = False
        self.takes_several = (
            self.device.type == "cuda"
            and self.trainer.world_size == 1
            and type(self).training_step is Step.training_step
            and not looks_at_batches(self.trainer)
        )
        if self.device.type != "cuda":
            return
        optimizer = cast(Any, self.optimizers()).optimizer
        if self.graph and obstacle(self, self.trainer) is None:
            self.replayer = Replayer(self, optimizer, say=console.say)
        elif fuses(optimizer, self.device, str(self.trainer.precision)):
            fuse(optimizer)

    def on_train_epoch_start(self) -> None:
        """Record the start of the epoch, and defer cutting batches if replayed updates can include it."""
        self._epoch_began_at = self._updates_done
        self.defer_batches(
            self.replayer is not None
            and self.graph is True  # not yet measured on a GPU, so "auto" cuts batches before an update
            and self.takes_several
            and not self.cuts_before
            and not self.adaptation.changes_inputs
            and type(self).train_on is Step.train_on
        )

    def defer_batches(self, defers: bool) -> None:
        """Make the loader of training batches defer cutting them, or stop that."""
        loader: Any = self.trainer.train_dataloader
        if hasattr(loader, "defers"):
            loader.defers = defers

    # ------------------------------------------------------------------ one batch

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Train on a batch; on a GPU also on the following ones, up to the next log entry or the end of the epoch."""
        self.train_on(batch, batch_idx)
        if not self.takes_several:
            return
        every, batches = self.trainer.log_every_n_steps, self.batches_of_epoch  # type: ignore[attr-defined]
        while (batch_idx + 1) % every and batch_idx + 2 < batches:
            batch, batch_idx = next_batch(self.trainer)
            self.train_on(batch, batch_idx, again=True)

    def train_on(self, batch: Any, batch_idx: int, again: bool = False) -> None:
        """Perform one update for each phase of the adaptation, on a Labelled, a DomainBatch or an Episode.

        Args:
            batch: training batch.
            batch_idx: index of the batch in the epoch.
            again: whether the batch follows another one within the same step, so that nothing else has changed.
        """
        optimizer = self.optimizers()
        progress = self.progress
        rates = self._rates(optimizer, self.schedule(progress))
        source = batch.source if isinstance(batch, DomainBatch) else batch
        target = batch.target if isinstance(batch, DomainBatch | Episode) else None
        batches = self.batches_of_epoch
        last = batch_idx + 1 == batches
        updates = (batch_idx + 1) % self.accumulate_batches == 0 or last
        # the last group of an epoch may have fewer batches
        group = min(self.accumulate_batches, batches - batch_idx // self.accumulate_batches * self.accumulate_batches)
        now = Update(progress, self.updates_done)
        self.adaptation.before_update(self.network, now)
        phases, watched = self.adaptation.phases(progress), last and bool(self.watchers)
        if watched or not self._replayed(source, target, rates, now, phases, again):
            if self.replayer is not None:
                self.replayer.set_rates(rates)
            source, target = Deferred.cut(source), Deferred.cut(target)
            own = cast(Any, optimizer).optimizer if self.calls_directly else optimizer
            self.make_update(source, target, now, phases, own, group=group, updates=updates, watched=last)
            if updates and self.calls_directly:
                self.count_updates(len(phases))
        self.updates_done += updates
        if last or (batch_idx + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._flush(rates[-1], waits=last)
        if self.max_updates is not None and self._updates_done >= self.max_updates:
            self.trainer.should_stop = True  # ends the current epoch in the normal way

    def _rates(self, optimizer: Any, factor: float) -> list[float]:
        rates = [group["base_lr"] * factor for group in optimizer.param_groups]
        if self.replayer is None:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        return rates

    def _replayed(
        self,
        source: Any,
        target: Any,
        rates: list[float],
        now: Update,
        phases: tuple[Phase, ...],
        again: bool,
    ) -> bool:
        if self.replayer is None:
            return False
        changed = None
        if self.adaptation.changes_inputs:
            source, target = Deferred.cut(source), Deferred.cut(target)
            changed = self._inputs(source, target)
        return self.replayer.update((source, target, changed), rates, now, phases, again)

    def make_update(
        self,
        source: Labelled | Episode,
        target: Unlabelled | None,
        now: Update,
        phases: tuple[Phase, ...],
        optimizer: Any,
        *,
        group: int = 1,
        updates: bool = True,
        watched: bool = False,
    ) -> None:
        """Compute the objective of each phase, its gradient, and the optimizer's step.

        Args:
            source: the labelled batch, or episodes.
            target: batch of the other domain; None without one.
            now: progress of training.
            phases: phases of the adaptation, in order.
            optimizer: Lightning's optimizer, or PyTorch's if it is called directly.
            group: number of batches whose gradients are averaged.
            updates: whether the optimizer steps after this batch.
            watched: whether the watchers observe the terms.
        """
        for phase in phases:
            loss = self.objective(source, target, now.in_phase(phase.name), phase, watched=watched)
            self.manual_backward(loss if group == 1 else loss / group)
            if updates:
                self._update(optimizer, phase)
        if updates:
            self.adaptation.after_update(self.network, now)

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradient of a loss."""
        if self.calls_directly:
            loss.backward(*args, **kwargs)
        else:
            super().manual_backward(loss, *args, **kwargs)

    def count_updates(self, steps: int) -> None:
        """Make Lightning count steps of the optimizer that it did not perform."""
        optimizer = cast(Any, self.optimizers())
        for _ in range(steps):
            optimizer._on_before_step()
            optimizer._on_after_step()

    def _update(self, optimizer: Any, phase: Phase) -> None:
        for name, part in self.parts().items():
            if name not in phase.learns:
                part.zero_grad()
        if isinstance(optimizer, LightningOptimizer):
            optimizer.step()
        else:  # PyTorch's does not call this hook
            self.on_before_optimizer_step(optimizer)
            with merged_groups(optimizer):
                optimizer.step()
        optimizer.zero_grad()
        if torch.is_autocast_enabled(self.device.type):
            torch.clear_autocast_cache()  # otherwise, the next phase would use weights from before this step
        self.on_update()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Pass the gradients to the strategy and clip them, after removing the loss scale of half precision."""
        self.on_gradients()
        if self.gradient_clip_norm is not None:
            self.clip_gradients(optimizer, self.gradient_clip_norm, "norm")

    # ------------------------------------------------------------------ the log

    def write(self, metrics: Mapping[str, float], updates: int | None = None, epoch: int | None = None) -> None:
        """Pass metrics to the loggers.

        Args:
            metrics: metrics by name.
            updates: number of the corresponding update; None for the current update.
            epoch: the corresponding epoch; None for the current epoch.
        """
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        row = {"epoch": self.current_epoch if epoch is None else epoch} if fitting else {}
        for logger in self.loggers:
            logger.log_metrics({**row, **metrics}, step=self.updates_done if updates is None else updates)

    def _flush(self, rate: float, waits: bool) -> None:
        """Log the means of all terms since the last log entry; stop if one of them is not finite.

        It does not wait for a GPU: values that are still being computed are written at the next log entry or at the end
        of the epoch.
        """
        if self.replayer is not None:
            self.replayer.read_into(self.means)
        waits = waits or self.trainer.world_size > 1
        row = _Row(self.means.read(waits), rate, self.updates_done, self.current_epoch)
        if self._unwritten is not None:
            self._write_row(self._unwritten)
        self._unwritten = None if waits else row
        if waits:
            self._write_row(row)

    def _write_row(self, row: _Row) -> None:
        values = row.reading.means()
        if self.trainer.world_size > 1:
            means = torch.tensor(list(values.values()), device=self.device)
            reduced = self.trainer.strategy.reduce(means, reduce_op="mean")
            values = dict(zip(values, reduced.tolist(), strict=True))
        if wrong := [name for name, value in values.items() if not math.isfinite(value)]:
            raise self.diverged(" and ".join(wrong), row.updates)
        self.last_loss = values["loss"]  # Lightning's log would wait for the GPU in each update
        metrics = {**{f"train/{name}": value for name, value in values.items()}, "train/lr": row.rate}
        if row.updates == self.updates_done:
            self.write(metrics)
        else:
            self.write(metrics, row.updates, row.epoch)

    def diverged(self, what: str, updates: int | None = None) -> Diverged:
        """Return an error that reports divergence, with remedies."""
        return Diverged(
            f"training diverged: {what} became NaN or infinite by update "
            f"{self.updates_done if updates is None else updates} (epoch "
            f"{self.current_epoch}): lower optimizer.lr or set update.gradient_clip_norm, and check the inputs' range; "
            "checkpoints of earlier epochs are intact"
        )
