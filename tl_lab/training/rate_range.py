"""A learning-rate range test: the losses of updates whose learning rate increases from update to update.

References:
    Cyclical Learning Rates for Training Neural Networks. Leslie N. Smith, WACV 2017.
    https://arxiv.org/abs/1506.01186
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch.nn import functional as F

if TYPE_CHECKING:
    from tl_lab.training.step import Step

__all__ = ["FEWEST", "RangeTest", "choose_rate", "rates_of", "smoothed"]

LOWEST, HIGHEST, UPDATES = 1e-6, 10.0, 100
FEWEST = 10
"""Smallest number of updates of a usable curve."""
_KERNEL = (1.0, 6.0, 15.0, 20.0, 15.0, 6.0, 1.0)  # binomial: nearly Gaussian, with finite support
_DIVERGED = 4.0  # the test ends if the loss exceeds its lowest value by this multiple of its initial value


def rates_of(updates: int = UPDATES, lowest: float = LOWEST, highest: float = HIGHEST) -> list[float]:
    """Return learning rates that are equally spaced in the logarithm.

    Args:
        updates: number of rates, at least 2.
        lowest: the first rate, above 0.
        highest: the last rate.
    """
    return [lowest * (highest / lowest) ** (number / (updates - 1)) for number in range(updates)]


def smoothed(losses: Sequence[float]) -> list[float]:
    """Average neighbouring losses by a centred binomial kernel, which does not shift the curve along its rates.

    Args:
        losses: loss of each update, ``(N,)``.

    Returns:
        The smoothed losses, ``(N,)``; the kernel is truncated at the ends.
    """
    kernel = torch.tensor(_KERNEL, dtype=torch.float64).view(1, 1, -1)
    values = torch.tensor([list(losses), [1.0] * len(losses)], dtype=torch.float64)[:, None]  # (2, 1, N)
    sums, weights = F.conv1d(values, kernel, padding=len(_KERNEL) // 2)[:, 0]
    return list((sums / weights).tolist())


def choose_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """Return a tenth of the rate at which the smoothed loss is lowest, to three significant digits.

    Args:
        rates: learning rates in ascending order, ``(N,)``.
        losses: finite losses before the update at each rate, ``(N,)``.

    Returns:
        The rate; None if the loss did not decrease, or the curve has fewer than :data:`FEWEST` points.
    """
    if len(losses) < FEWEST:
        return None
    curve = smoothed(losses)
    place = min(range(len(curve)), key=curve.__getitem__)
    return None if place < FEWEST // 2 else float(f"{rates[place] / 10:.3g}")


class RangeTest(Logger):
    """The schedule and the logger of a range test: sets the rate of each update and records the loss before it.

    Args:
        step: the training step; its optimizer must have a learning rate of 1, relative to which groups are scaled.
        rates: learning rates in ascending order.
    """

    name, version = "lr_find", ""

    def __init__(self, step: "Step", rates: Sequence[float]) -> None:
        super().__init__()
        self.step, self.rates = step, rates
        self.trainer: pl.Trainer | None = None
        self._losses: dict[float, list[float]] = {}

    def __call__(self, progress: float) -> float:
        """Return the factor of all groups' rates, as a schedule does, and end the test after the last rate."""
        number = self.step.updates_done
        if number >= len(self.rates) - 1:
            self._end()
        return self.rates[min(number, len(self.rates) - 1)]

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record a logged loss under the learning rate of its batch."""
        loss, lr = metrics.get("train/loss"), metrics.get("train/lr")
        if loss is None or lr is None:
            return
        optimizer: Any = self.step.optimizers()
        share = optimizer.param_groups[-1]["base_lr"]
        rate = min(self.rates, key=lambda one: abs(one - lr / share))
        self._losses.setdefault(rate, []).append(loss)
        first, lowest = self.curve[0][1], min(value for _, value in self.curve)
        if len(self._losses) >= FEWEST and loss - lowest > _DIVERGED * abs(first):
            self._end()

    @property
    def curve(self) -> list[tuple[float, float]]:
        """Pairs of rate and loss; if gradients are accumulated over batches, their losses are averaged."""
        return [(rate, math.fsum(losses) / len(losses)) for rate, losses in sorted(self._losses.items())]

    def _end(self) -> None:
        if self.trainer is not None:
            self.trainer.should_stop = True
