"""The schedule of the gradient-reversal factor over training."""

import math

from tl_lab.errors import UserError

__all__ = ["ReversalRamp"]


class ReversalRamp:
    """f(p) = 2 / (1 + exp(-gamma p)) - 1, the growth of DANN's lambda from 0 towards 1.

    Args:
        gamma: growth rate, > 0 (paper: 10).

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), section 5.2.2.
    """

    def __init__(self, gamma: float = 10.0) -> None:
        if gamma <= 0:
            raise UserError(f"domain_adaptation.gamma must be above 0, not {gamma}")
        self.gamma = gamma

    def __call__(self, progress: float) -> float:
        """Return lambda / lambda_max, in [0, 1], at training progress p in [0, 1]."""
        return math.tanh(self.gamma * progress / 2)  # the same function, exact near 0

    def __repr__(self) -> str:
        return f"ReversalRamp(gamma={self.gamma})"
