"""Evaluation of predicted numbers, in the units of the targets."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import CatMetric
from torchmetrics.functional.regression import (
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    spearman_corrcoef,
)

from tl_lab.evaluation.meter import Meter

__all__ = ["REGRESSION", "RegressionMeter", "regression_scores"]

REGRESSION = ("loss", "r2", "spearman", "mae", "mse")
"""Scores of a set with labels."""


def regression_scores(predicted: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Score each predicted quantity separately; the scores are means over the quantities for which they are defined.

    Args:
        predicted: ``(N, K)``, in the units of the targets.
        y: ``(N, K)``.

    Returns:
        ``r2`` = 1 - sum (y - f)^2 / sum (y - mean y)^2, which is NaN for constant targets; ``spearman``, the
        rank correlation, NaN if either is constant; ``mae`` and ``mse``.
    """
    predicted, y = predicted.double(), y.double()
    per_quantity = [_scores_of_one(predicted[:, k], y[:, k]) for k in range(y.shape[1])]
    return {name: torch.stack([scores[name] for scores in per_quantity]).nanmean() for name in per_quantity[0]}


def _scores_of_one(predicted: Tensor, y: Tensor) -> dict[str, Tensor]:
    # centred, because sums of squares far from the origin lose precision; no score depends on the origin
    predicted, y = predicted - y.mean(), y - y.mean()
    undefined = torch.tensor(torch.nan, dtype=torch.double)
    varies = len(y) > 1 and bool((y != y[0]).any())
    ranked = varies and bool((predicted != predicted[0]).any())
    return {
        "r2": r2_score(predicted, y) if varies else undefined,
        "spearman": spearman_corrcoef(predicted, y) if ranked else undefined,
        "mae": mean_absolute_error(predicted, y),
        "mse": mean_squared_error(predicted, y),
    }


class RegressionMeter(Meter):
    """Collects predictions and targets.

    Args:
        unscale: converts outputs ``(N, K)`` to the units of the targets.
        scale: the inverse, for the loss, which is measured on the scale of the outputs.

    Attributes:
        last_predicted: predictions of the last summarised samples, ``(N, K)``.
        last_targets: their targets, ``(N, K)``.
    """

    def __init__(self, unscale: Callable[[Tensor], Tensor], scale: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.unscale, self.scale = unscale, scale
        self.outputs, self.targets = (CatMetric(nan_strategy="disable") for _ in range(2))
        self.last_predicted, self.last_targets = torch.empty(0), torch.empty(0)

    def update(self, outputs: Tensor, y: Tensor | None) -> None:
        """Add a batch: outputs ``(B, K)`` and targets ``(B, K)``; without targets there is nothing to score."""
        if y is not None:
            self.outputs.update(outputs)
            self.targets.update(
                self.scale(y).to(outputs)
            )  # torchmetrics uses single precision, too coarse for big offsets

    def compute(self) -> dict[str, float]:
        """Return the scores of all batches, and reset; NaN if an output is not finite."""
        if not self.outputs.update_called:
            return {}
        outputs, y = (torch.as_tensor(metric.compute()).cpu().double() for metric in (self.outputs, self.targets))
        for metric in (self.outputs, self.targets):
            metric.reset()
        self.last_predicted, self.last_targets = self.unscale(outputs), self.unscale(y)
        if not bool(outputs.isfinite().all()):
            return dict.fromkeys(REGRESSION, math.nan)
        loss = (outputs - y).square().mean()
        scores = {"loss": loss, **regression_scores(self.last_predicted, self.last_targets)}
        return {name: float(value) for name, value in scores.items()}
