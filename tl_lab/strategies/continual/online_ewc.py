"""Online elastic weight consolidation: one running Fisher information, centred at the last task's weights."""

from typing import Any

from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.options import Share
from tl_lab.strategies.continual.ewc import EWC

__all__ = ["OnlineEWC"]


class OnlineEWC(EWC):
    """EWC with a single penalty, which forgets old tasks gracefully.

    L(theta) = L_task(theta) + lambda/2 sum_i gamma F~_i (theta_i - theta*_i)^2,    F~ <- gamma F~ + F

    with theta* the weights after the last task. The paper also scales each task's Fisher information to the same
    size, which is not done here.

    Args:
        gamma: how much of the earlier tasks' Fisher information is kept at each task, in [0, 1].
        options: those of :class:`~tl_lab.strategies.continual.ewc.EWC`.

    Raises:
        UserError: gamma outside [0, 1].

    References:
        Schwarz et al., Progress and Compress: A Scalable Framework for Continual Learning, ICML 2018, section 4,
        equation 9 and below. The penalty at the last task's weights: Huszar, PNAS 115 (2018).
    """

    def __init__(self, *, gamma: Share = 1.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= gamma <= 1:
            raise UserError(f"strategy.gamma is in [0, 1], not {gamma}")
        self.gamma = float(gamma)

    def end_task(self, task: int) -> None:
        """Let the earlier tasks' information fade, add this task's, and move the centre."""
        self.warn_if_negligible(task)
        found = self.fisher_of(task)
        running = {name: self.gamma * self.penalty.precision(name) + fisher for name, fisher in found.items()}
        self.penalty.replace(running, self.learned_weights(task))

    def penalties(self) -> dict[str, Tensor]:
        """Give the penalty, from the second task on: the earlier tasks' information has faded once more."""
        return {name: self.gamma * value for name, value in super().penalties().items()}
