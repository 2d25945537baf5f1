"""Model-agnostic meta-learning."""

from typing import Any

import torch
from torch import Tensor

from tl_lab.data.batches import Episode
from tl_lab.functional import meta_gradient
from tl_lab.functional.inner_loop import Weights
from tl_lab.strategies.few_shot.gradient_based import GradientBased

__all__ = ["MAML"]


class MAML(GradientBased):
    """Minimise the queries' loss after adaptation, by differentiating through the adaptation.

    theta'_i = theta - alpha dL(theta; support_i)/dtheta, several times; theta follows the gradient of
    sum_i L(theta'_i; query_i) / E. All trained weights are adapted, including scales and shifts of batch normalisation.

    Args:
        first_order: omit the second derivatives.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.gradient_based.GradientBased`.

    References:
        Finn, Abbeel and Levine, Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, ICML 2017,
        algorithm 2. https://arxiv.org/abs/1703.03400
    """

    def __init__(self, *, first_order: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.first_order = first_order

    def learn(self, episode: Episode, weights: Weights, statistics: dict[str, Tensor]) -> Any:
        """Differentiate the queries' loss with respect to the initial weights."""

        def loss(
            weights: Weights, x: Tensor, y: Tensor, query_x: Tensor, query_y: Tensor, statistics: Weights
        ) -> tuple[Tensor, dict[str, Tensor]]:
            adapted = self.adapted(weights, x, y, self.inner_steps, self.first_order)
            outputs = self.classify_adapted(weights, adapted, query_x, statistics)
            return self.criterion(outputs["logits"], query_y), outputs

        support, query = episode.support, episode.query
        tensors = support.x, support.y, query.x, query.y, statistics
        with torch.enable_grad():
            found = meta_gradient(loss, weights, tensors, self.tasks)
        return found.gradient, found.outputs

    def facts(self) -> dict[str, str]:
        """Report the order of the derivatives in addition to the inner loop."""
        return {**super().facts(), "meta-gradient": "first order" if self.first_order else "second order"}
