"""Averages of the weights over training, which are validated, saved and tested instead of the last weights."""

from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from tl_lab.errors import UserError, nearest
from tl_lab.options import Natural, Share

__all__ = ["AveragedWeights", "Rule"]

Rule = Literal["ema", "mean"]
_RAW = "weights_without_averaging"


class AveragedWeights(Callback):
    """Maintain an average of all weights for validation, checkpoints and tests, independently of the trained weights.

    ``ema``: after every update, ``a <- decay a + (1 - decay) w``, starting from the first weights. ``mean``: stochastic
    weight averaging, the mean of the weights at the ends of the epochs from ``first_epoch`` on; before that, the
    current weights. Floating-point buffers, such as the statistics of batch normalisation, are averaged like weights,
    whereas Izmailov et al. recompute them in a pass over the training set.

    In a configuration: ``callbacks=ema`` or ``callbacks=swa``.

    Args:
        rule: ``ema`` or ``mean``.
        decay: decay of ``ema``, in [0, 1).
        first_epoch: first epoch in the average of ``mean``, counted from 0.

    Raises:
        UserError: the rule is unknown, the decay is not in [0, 1), or the data are a stream of tasks.

    References:
        B. T. Polyak and A. B. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on
        Control and Optimization 30 (1992). https://doi.org/10.1137/0330046
        P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
        https://arxiv.org/abs/1803.05407
    """

    shardable = False

    def __init__(self, rule: Rule = "ema", decay: Share = 0.99, first_epoch: Natural = 0) -> None:
        if rule not in (valid := get_args(Rule)):
            raise UserError(f"callbacks.average.rule={rule} is unknown; {nearest(str(rule), valid)}")
        if not 0 <= decay < 1:
            raise UserError(f"callbacks.average.decay must be in [0, 1), not {decay}")
        self.rule, self.decay, self.first_epoch = rule, decay, first_epoch
        self._average: dict[str, Tensor] = {}
        self._count = 0  # number of epochs in the mean
        self._updates = 0  # number of updates at the latest change of the average
        self._raw: dict[str, Tensor] | None = None  # trained weights, while the module contains the average

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start from the current weights, unless a checkpoint was loaded."""
        if pl_module.data.changes_by_epoch:
            raise UserError(
                "callbacks.average: an average over a stream would mix the weights of its tasks: leave it out"
            )
        if not self._average:
            self._average = _floats(pl_module)
            self._updates = pl_module.updates_done

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the average after an update, or at the end of an epoch before its validation."""
        if self.rule == "ema":
            if pl_module.updates_done > self._updates:
                self._take_in(pl_module, 1 - self.decay)
        elif trainer.is_last_batch:
            self._count += trainer.current_epoch >= self.first_epoch
            self._take_in(pl_module, 1 / max(1, self._count))
        self._updates = pl_module.updates_done

    @torch.no_grad()
    def _take_in(self, module: Any, share: float) -> None:
        for name, value in _floats(module, copies=False).items():
            self._average[name].lerp_(value, share)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Load the average into the module."""
        if self._average and self._raw is None:
            self._raw = _floats(pl_module)
            _write(pl_module, self._average)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Restore the trained weights if training continues."""
        if self._raw is not None and trainer.state.fn == "fit":
            _write(pl_module, self._raw)
            self._raw = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Load the average into the module for good."""
        _write(pl_module, self._average)
        self._average = {}

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Save the average as the model's weights, and the trained weights separately."""
        if self._average:
            weights = checkpoint["state_dict"]
            checkpoint[_RAW] = {name: weights[name] for name in self._average if name in weights}
            checkpoint["state_dict"] = {name: self._average.get(name, value) for name, value in weights.items()}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the trained weights and their average."""
        if _RAW in checkpoint and trainer.state.fn == "fit":
            self._average = _floats(pl_module)  # the weights of the checkpoint
            _write(pl_module, checkpoint[_RAW])

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"count": self._count, "updates": self._updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts."""
        self._count, self._updates = state_dict["count"], state_dict["updates"]


def _floats(module: Any, copies: bool = True) -> dict[str, Tensor]:
    """Return floating-point weights and buffers of a module by name."""
    state = module.state_dict().items()  # extra states, such as density ratios, may not be tensors
    found = {name: value for name, value in state if isinstance(value, Tensor) and value.is_floating_point()}
    return {name: value.detach().clone() for name, value in found.items()} if copies else found


@torch.no_grad()
def _write(module: Any, values: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        if name in values:
            value.copy_(values[name])
