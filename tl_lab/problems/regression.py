"""Regression: one or several numbers for each sample."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.evaluation.meter import Meter
from tl_lab.evaluation.regression import REGRESSION, RegressionMeter
from tl_lab.functional.likelihoods import GAUSSIAN, Gaussian
from tl_lab.problems.base import Criterion, Groups, Prediction, Problem, Targets, refuse_options_of_classifiers
from tl_lab.problems.metrics import REGRESSION as STATED
from tl_lab.texts import counted

__all__ = ["Regression", "SquaredError"]

_STRATA = 10
_ROUNDING = 1e-12  # a standard deviation below this share of the mean is a rounding error


class SquaredError(Criterion):
    """Mean over the quantities of (z - (y - mean) / deviation)^2.

    Args:
        problem: the regression problem, whose scale is used.

    Examples:
        >>> float(SquaredError(Regression(["age"]))(torch.tensor([[1.0]]), torch.tensor([[3.0]])))
        4.0
    """

    def __init__(self, problem: "Regression") -> None:
        super().__init__()
        self.problem = problem

    def forward(self, outputs: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """Compute the loss of outputs ``(B, K)`` and targets ``(B, K)``."""
        squares = (outputs - self.problem.scale(y).to(outputs)).square()
        return squares.mean(1) if reduction == "none" else squares.mean()


class _ScaledGaussian(Gaussian):
    """A Gaussian with labels in the targets' units."""

    def __init__(self, problem: "Regression") -> None:
        self.problem = problem

    def draw(self, outputs: Tensor, generator: torch.Generator) -> Tensor:
        return self.problem.unscale(super().draw(outputs, generator))

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        return super().score(outputs, self.problem.scale(y))

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        return super().loss(outputs, self.problem.scale(y))


class Regression(Problem):
    """Regression: targets are ``(N, K)`` float, standardised by the training targets for the network.

    Predictions, MSE and MAE are in the targets' units.

    Examples:
        >>> problem = Regression(["age"])
        >>> problem.learn(torch.tensor([[10.0], [30.0]]))
        >>> problem.scale(torch.tensor([[30.0]])).tolist(), problem.unscale(torch.tensor([[-1.0]])).tolist()
        ([[1.0]], [[10.0]])
    """

    name = "regression"
    monitor = "r2"
    labelled = REGRESSION
    likelihood = GAUSSIAN
    metrics = STATED.metrics
    units = STATED.units
    predicts_numbers = True

    def __init__(self, output_names: Sequence[str]) -> None:
        super().__init__(output_names)
        self.mean = torch.zeros(len(self.output_names), dtype=torch.double)
        self.deviation = torch.ones(len(self.output_names), dtype=torch.double)
        self._moved: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self.likelihood = _ScaledGaussian(self)  # type: ignore[misc]  # uses this problem's scale

    def at_chance(self, scores: Mapping[str, float], where: str, samples: int) -> str:
        """Compare R² with 0, the value of predicting the mean."""
        value = scores.get("r2", math.nan)
        return f"R² on {where}, {value:.2f}, is no better than predicting the mean" if value <= 0 else ""

    def check(self, name: str, y: Tensor, num_outputs: int | None = None) -> None:
        """Raise an error unless each sample has a finite number for each quantity."""
        if y.dim() != 2 or y.shape[1] != self.num_outputs or not y.is_floating_point():
            raise UserError(
                f"the set {name!r} has targets of {y.dtype}, {tuple(y.shape)}: give "
                f"{counted(self.num_outputs, 'number')} per sample"
            )
        if bad := int((~y.isfinite()).any(1).sum()):
            raise UserError(f"{bad} of the {len(y)} targets of the set {name!r} are NaN or infinite")

    def learn(self, y: Tensor) -> None:
        """Store the mean and standard deviation of the training targets; constant targets are only centred."""
        y = y.double().cpu()
        deviation = y.std(0, unbiased=False)
        self.mean = y.mean(0)
        varies = deviation > _ROUNDING * self.mean.abs()
        self.deviation = torch.where(varies, deviation, torch.ones_like(deviation))
        self._moved.clear()

    def scale(self, y: Tensor) -> Tensor:
        """Convert targets ``(B, K)`` to the scale of the outputs, in double precision."""
        mean, deviation = self._on(y.device)
        return (y.double() - mean) / deviation

    def unscale(self, outputs: Tensor) -> Tensor:
        """Convert outputs ``(B, K)`` to the units of the targets, in double precision."""
        mean, deviation = self._on(outputs.device)
        return outputs.double() * deviation + mean

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the mean and deviation on a device, cached because every step uses them."""
        if device not in self._moved:
            self._moved[device] = self.mean.to(device), self.deviation.to(device)
        return self._moved[device]

    def criterion(
        self, y: Tensor | None, *, class_weights: str | None = None, label_smoothing: float = 0.0
    ) -> Criterion:
        """Build the squared error; options of classifiers raise an error."""
        refuse_options_of_classifiers(self, class_weights, label_smoothing)
        return SquaredError(self)

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Compute each sample's squared error on the scale of the outputs, ``(B,)``.

        Examples:
            >>> problem = Regression(["age"])
            >>> problem.learn(torch.tensor([[10.0], [30.0]]))
            >>> problem.losses(torch.tensor([[0.0]]), torch.tensor([[30.0]])).tolist()
            [1.0]
        """
        return (outputs - self.scale(y).to(outputs)).square().mean(1)

    def predict(self, outputs: Tensor) -> Prediction:
        """Return numbers in the targets' units.

        Examples:
            >>> problem = Regression(["age"])
            >>> problem.learn(torch.tensor([[10.0], [30.0]]))
            >>> problem.columns(problem.predict(torch.tensor([[0.5], [1.0]])))
            {'age': ['25', '30']}
        """
        return Prediction(self.unscale(outputs), None, None)

    def words(self, values: Tensor) -> list[str]:
        """Format the numbers, one string per sample."""
        return ["; ".join(f"{value:.9g}" for value in row) for row in values.tolist()]

    def columns(self, prediction: Prediction) -> dict[str, list[str]]:
        """Return one column per quantity."""
        each = zip(self.output_names, prediction.values.T.tolist(), strict=True)
        return {name: [f"{value:.9g}" for value in column] for name, column in each}

    def meter(self, num_outputs: int | None = None) -> Meter:
        """Build the meter of regression scores."""
        return RegressionMeter(self.unscale, self.scale)

    def batch_scores(self, outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Compute the mean absolute error, in the targets' units."""
        return {"mae": (self.unscale(outputs) - y).abs().mean().float()}

    def targets(self, y: Tensor) -> Targets:
        """Return a column per quantity, on the scale of the outputs."""
        return Targets(self.scale(y).T, numbers=True)

    def strata(self, y: Tensor) -> Tensor:
        """Group by tenths of the first quantity's distribution."""
        edges = torch.quantile(y[:, 0].double(), torch.linspace(0, 1, _STRATA + 1, dtype=torch.double)[1:-1])
        groups = torch.bucketize(y[:, 0].double(), edges.unique())
        return groups.unique(return_inverse=True)[1]  # empty groups are dropped

    def groups(self, y: Tensor) -> Groups:
        """Group by tenths of the first quantity, named by their ranges."""
        number, first = self.strata(y), y[:, 0]
        ranges = [
            (first[number == k].min().item(), first[number == k].max().item()) for k in range(int(number.max()) + 1)
        ]
        names = [f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for low, high in ranges]
        return Groups(number, names, self.output_names[0])

    def state(self) -> dict[str, Any]:
        """Add the scale."""
        return {**super().state(), "mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the scale."""
        self.mean = torch.tensor(state["mean"], dtype=torch.double)
        self.deviation = torch.tensor(state["deviation"], dtype=torch.double)
        self._moved.clear()
