"""The contract of a validator: a score that selects an epoch, or ranks runs, without the target's labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.errors import UserError
from tl_lab.functional import classifier_ratio
from tl_lab.problems import ALL, Problem

if TYPE_CHECKING:
    from tl_lab.strategies.base import Strategy

__all__ = ["Evidence", "Train", "Validator", "check_regularisation", "check_samples"]

Train = Callable[[DomainPair, Mapping[str, Tensor] | None], float]
"""Trains the run's configuration on a pair, starting from the given network weights or from scratch if they are None,
and returns the accuracy on the pair's ``target/test``."""


@dataclass
class Evidence:
    """Inputs of a validator after an epoch: everything except the target's labels.

    Args:
        source_train: the head's input, ``(N, D)``, for a random draw from the source's training part, in the order of
            the draw, so that its first rows are a smaller draw.
        source_val: the same for all of the source's validation part, ``(V, D)``.
        target_train: the same for a draw from the target's training part, ``(M, D)``.
        losses: loss of each sample of the source's validation part, ``(V,)``.
        wrong: whether it is misclassified, ``(V,)``, 0 or 1; None without classes.
    """

    source_train: Tensor
    source_val: Tensor
    target_train: Tensor
    losses: Tensor
    wrong: Tensor | None
    _ratios: dict[tuple[int, float], Tensor] = field(default_factory=dict)

    def density_ratios(self, samples: int, regularisation: float) -> Tensor:
        """Estimate w(x) = p_t(x) / p_s(x) at the source's validation samples by a domain classifier on features.

        Args:
            samples: largest number of training samples of each domain to which it is fitted.
            regularisation: weight of the classifier's penalty, > 0.

        Returns:
            ``(V,)``, double; NaN if features are not finite.
        """
        key = samples, regularisation
        if key not in self._ratios:
            source, target = self.source_train[:samples], self.target_train[:samples]
            if bool(source.isfinite().all() & target.isfinite().all() & self.source_val.isfinite().all()):
                self._ratios[key] = classifier_ratio(source, target, self.source_val, regularisation)
            else:
                self._ratios[key] = torch.full((len(self.source_val),), float("nan"), dtype=torch.double)
        return self._ratios[key]


class Validator:
    """A score of a run's epochs or of the whole run that does not use target labels."""

    metric: str
    """Name of the score among a run's metrics."""
    problems: frozenset[str] = ALL
    """Names of the problems whose runs it can score."""
    mode: ClassVar[str] = "max"
    """Whether the best score is the largest (``max``) or the smallest (``min``)."""
    measures: ClassVar[bool] = False
    """Whether it computes its score itself, from features of both domains; otherwise every validation logs it."""
    ranks_runs: ClassVar[bool] = False
    """Whether it scores the whole run; such a score compares runs and cannot select an epoch."""
    samples: int = 0
    """Number of training samples of each domain that it uses, if it measures."""

    def name_metric(self, problem: Problem) -> None:
        """Set the name of a score that depends on the problem; most have a fixed name."""

    def score(self, evidence: Evidence) -> float:
        """Compute the score of an epoch, if it measures."""
        raise NotImplementedError(f"{type(self).__name__} does not score epochs")

    def score_run(self, strategy: "Strategy", data: DomainPair, train: Train) -> float:
        """Compute the score of a run, if it ranks runs.

        Args:
            strategy: the strategy, after its test.
            data: the run's data.
            train: trains the configuration again on other data.
        """
        raise NotImplementedError(f"{type(self).__name__} does not score runs")


def check_samples(name: str, value: int) -> int:
    """Return a number of samples, after checking that a classifier can be fitted to it.

    Args:
        name: name of the validator.
        value: the configured value.

    Raises:
        UserError: the value is below 2.
    """
    if value < 2:
        raise UserError(f"validator.{name}.samples must be at least 2, not {value}")
    return value


def check_regularisation(name: str, value: float) -> float:
    """Return the weight of a classifier's penalty, after checking that it is positive.

    Raises:
        UserError: the value is 0, negative or NaN.
    """
    if not value > 0:
        raise UserError(f"validator.{name}.regularisation must be above 0, not {value}")
    return float(value)
