"""Schedules: factors of learning rates and weights as functions of training progress.

Progress p runs from 0 (first step) to 1 (end of the run). A schedule is a pure function of p, so that a resumed
run continues without any saved state.
"""

import math
from typing import Annotated

from annotated_types import Ge

from tl_lab.errors import UserError
from tl_lab.options import Fraction, NonNegative, Positive, Probability, Share

__all__ = [
    "Constant",
    "Cosine",
    "InverseDecay",
    "Linear",
    "Schedule",
    "SlantedTriangular",
    "Step",
]


class Schedule:
    """A factor as a function of training progress p in [0, 1]."""

    def __call__(self, progress: float) -> float:
        """Return the factor at progress p."""
        raise NotImplementedError(f"{type(self).__name__} does not define its factor")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in vars(self).items())})"


class Constant(Schedule):
    """f(p) = 1."""

    def __call__(self, progress: float) -> float:
        return 1.0


class InverseDecay(Schedule):
    """f(p) = (1 + alpha p)^-beta, the annealing of DANN.

    Args:
        alpha: speed of the decay, >= 0 (paper: 10).
        beta: exponent, >= 0 (paper: 0.75).

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), section 5.2.2.
    """

    def __init__(self, alpha: NonNegative = 10.0, beta: NonNegative = 0.75) -> None:
        self.alpha, self.beta = alpha, beta

    def __call__(self, progress: float) -> float:
        return (1 + self.alpha * progress) ** -self.beta


class _Warm(Schedule):
    """Rise linearly from 0 to 1 over the first share of training, then follow :meth:`after`."""

    def __init__(self, warmup: Probability = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise UserError(f"scheduler.warmup must be a share of training in [0, 1), not {warmup}")
        self.warmup = warmup

    def __call__(self, progress: float) -> float:
        if progress < self.warmup:
            return progress / self.warmup
        return self.after((progress - self.warmup) / (1 - self.warmup))

    def after(self, q: float) -> float:
        """Return the factor at share q in [0, 1] of the time after the warm-up."""
        raise NotImplementedError(f"{type(self).__name__} does not define its factor")


class Cosine(_Warm):
    """f(q) = final + (1 - final) (1 + cos(pi q)) / 2 after a linear warm-up.

    Args:
        warmup: share of training of the warm-up, in [0, 1).
        final: factor at the end, in [0, 1].

    References:
        Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, equation 5.
    """

    def __init__(self, warmup: Probability = 0.0, final: Share = 0.0) -> None:
        super().__init__(warmup)
        self.final = final

    def after(self, q: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * q)) / 2


class Linear(_Warm):
    """f(q) = 1 - (1 - final) q after a linear warm-up.

    Args:
        warmup: share of training of the warm-up, in [0, 1).
        final: factor at the end, in [0, 1].
    """

    def __init__(self, warmup: Probability = 0.0, final: Share = 0.0) -> None:
        super().__init__(warmup)
        self.final = final

    def after(self, q: float) -> float:
        return 1 - (1 - self.final) * q


class Step(Schedule):
    """f(p) = factor^(number of milestones passed).

    Args:
        milestones: shares of training, ascending, in (0, 1).
        factor: factor at each milestone, > 0.
    """

    def __init__(self, milestones: tuple[Fraction, ...] = (0.5, 0.75), factor: Positive = 0.1) -> None:
        if not all(0 < milestone < 1 for milestone in milestones) or factor <= 0:
            raise UserError(
                f"scheduler.milestones must be shares of training in (0, 1) and scheduler.factor above 0, not "
                f"{list(milestones)} and {factor}"
            )
        self.milestones, self.factor = tuple(milestones), factor

    def __call__(self, progress: float) -> float:
        return self.factor ** sum(progress >= milestone for milestone in self.milestones)


class SlantedTriangular(Schedule):
    """Rise fast, then fall slowly: f(p) = (1 + u (ratio - 1)) / ratio.

    u = p / cut while p < cut, and 1 - (p - cut) / (1 - cut) after.

    Args:
        cut: share of training with a rising rate, in (0, 1) (paper: 0.1).
        ratio: ratio of the highest to the lowest rate, >= 1 (paper: 32).

    References:
        Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, ACL 2018, equation 3.
    """

    def __init__(self, cut: Fraction = 0.1, ratio: Annotated[float, Ge(1)] = 32.0) -> None:
        if not 0 < cut < 1:
            raise UserError(f"scheduler.cut must be a share of training in (0, 1), not {cut}")
        self.cut, self.ratio = cut, ratio

    def __call__(self, progress: float) -> float:
        rising = progress < self.cut
        u = progress / self.cut if rising else 1 - (progress - self.cut) / (1 - self.cut)
        return (1 + u * (self.ratio - 1)) / self.ratio
