"""The contract of a validator: a score that chooses an epoch, or ranks runs, without the target's labels."""

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
"""Trains the run's configuration on a pair, from given weights of the network if there are any, and gives the accuracy
on the pair's ``target/test``."""


@dataclass
class Evidence:
    """What a validator may look at after an epoch: everything but the target's labels.

    Args:
        source_train: the head's input, ``(N, D)``, for a random draw from the source's training part, in the order of
            the draw, so that the first of them are a smaller draw.
        source_val: the same for all of the source's validation part, ``(V, D)``.
        target_train: the same for a draw from the target's training part, ``(M, D)``.
        losses: loss of each sample of the source's validation part, ``(V,)``.
        wrong: whether it is classified wrongly, ``(V,)``, 0 or 1; None where nothing is classified.
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
            samples: of each domain's training part that it is fitted to, at most.
            regularisation: of the classifier, > 0.

        Returns:
            ``(V,)``, double; NaN where features are not finite.
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
    """A score of a run's epochs, or of the run as a whole, that needs no label of the target."""

    metric: str
    """Under which name the score is found among a run's metrics."""
    problems: frozenset[str] = ALL
    """Names of the problems whose runs it can score."""
    mode: ClassVar[str] = "max"
    """Whether the best score is the largest (``max``) or the smallest (``min``)."""
    measures: ClassVar[bool] = False
    """Whether it computes its score itself, from features of both domains; else every validation logs it."""
    ranks_runs: ClassVar[bool] = False
    """Whether it gives one score to the whole run: that compares runs, and chooses no epoch."""
    samples: int = 0
    """Samples of each domain's training part that it looks at, if it measures."""

    def name_metric(self, problem: Problem) -> None:
        """Let a score that follows the problem take its name; most have a name of their own."""

    def score(self, evidence: Evidence) -> float:
        """Compute the score of an epoch, if it measures."""
        raise NotImplementedError(f"{type(self).__name__} scores no epoch")

    def score_run(self, strategy: "Strategy", data: DomainPair, train: Train) -> float:
        """Compute the score of a run, if it ranks runs.

        Args:
            strategy: as it was tested.
            data: its data.
            train: trains once more.
        """
        raise NotImplementedError(f"{type(self).__name__} scores no run")


def check_samples(name: str, value: int) -> int:
    """Refuse a number of samples that no classifier can be fitted to.

    Args:
        name: of the validator.
        value: as configured.

    Raises:
        UserError: it is below 2.
    """
    if value < 2:
        raise UserError(f"validator.{name}.samples is at least 2, not {value}")
    return value


def check_regularisation(name: str, value: float) -> float:
    """Refuse a weight of the penalty that is not positive.

    Raises:
        UserError: it is 0, negative or NaN.
    """
    if not value > 0:
        raise UserError(f"validator.{name}.regularisation is above 0, not {value}")
    return float(value)
