"""First-order model-agnostic meta-learning."""

from typing import Any

from tl_lab.strategies.few_shot.maml import MAML

__all__ = ["FOMAML"]


class FOMAML(MAML):
    """MAML without second derivatives: theta follows the mean of dL(theta'_i; query_i)/dtheta'_i.

    Args:
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.maml.MAML` but ``first_order``.

    References:
        Finn, Abbeel and Levine, ICML 2017, section 5.2; Nichol, Achiam and Schulman, On First-Order Meta-Learning
        Algorithms, 2018, section 2. https://arxiv.org/abs/1803.02999
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(first_order=True, **options)
