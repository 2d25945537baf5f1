"""Online elastic weight consolidation: one running Fisher information, centred at the last task's weights."""

from typing import Any

from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.options import Share
from tl_lab.strategies.continual.ewc import EWC

__all__ = ["OnlineEWC"]


class OnlineEWC(EWC):
    """EWC with a single penalty that discounts the Fisher information of earlier tasks.

    L(theta) = L_task(theta) + lambda/2 sum_i gamma F~_i (theta_i - theta*_i)^2,    F~ <- gamma F~ + F

    with theta* the weights after the last task. The paper also scales each task's Fisher information to the same
    magnitude, which is omitted here.

    Args:
        gamma: factor of the earlier tasks' Fisher information at each task, in [0, 1].
        options: keyword arguments of :class:`~tl_lab.strategies.continual.ewc.EWC`.

    Raises:
        UserError: gamma outside [0, 1].

    References:
        Schwarz et al., Progress and Compress: A Scalable Framework for Continual Learning, ICML 2018, section 4,
        equation 9 and below. The penalty at the last task's weights: Huszar, PNAS 115 (2018).
    """

    def __init__(self, *, gamma: Share = 1.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= gamma <= 1:
            raise UserError(f"strategy.gamma must be in [0, 1], not {gamma}")
        self.gamma = float(gamma)

    def end_task(self, task: int) -> None:
        """Decay the information of earlier tasks, add that of this task, and move the centre."""
        self.warn_if_negligible(task)
        found = self.fisher_of(task)
        running = {name: self.gamma * self.penalty.precision(name) + fisher for name, fisher in found.items()}
        self.penalty.replace(running, self.learned_weights(task))

    def penalties(self) -> dict[str, Tensor]:
        """Return the penalty from the second task on, with one further decay of the earlier information."""
        return {name: self.gamma * value for name, value in super().penalties().items()}
