"""Reptile."""

import warnings
from typing import Any

import torch
from torch import Tensor

from tl_lab.data.batches import Episode
from tl_lab.errors import UserError
from tl_lab.functional import over_tasks, reptile_gradient
from tl_lab.functional.inner_loop import Weights
from tl_lab.options import Count
from tl_lab.randomness import generator
from tl_lab.strategies.few_shot.gradient_based import GradientBased

__all__ = ["Reptile"]


class Reptile(GradientBased):
    """Move the weights towards the result of gradient descent on each episode's support.

    The gradient passed to the optimizer is theta - mean_i(theta_i): with ``optimizer=sgd optimizer.momentum=0`` the
    learning rate is Reptile's epsilon. The queries do not affect it; their loss under the adapted weights is logged.
    Training needs more shots than the test (``data.train.shot``), so that successive inner steps use different samples:
    the product of gradients of different batches distinguishes Reptile from joint training on all tasks.

    Args:
        inner_batch: samples per inner step in training, drawn without replacement until all were used; None: the
            whole support. At test, each step uses the whole support.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.gradient_based.GradientBased`.

    References:
        Nichol, Achiam and Schulman, On First-Order Meta-Learning Algorithms, 2018, algorithm 2 and section 5; the
        published code uses Adam without momentum in the inner loop, this code gradient descent.
        https://arxiv.org/abs/1803.02999
    """

    def __init__(self, *, inner_batch: Count | None = None, **options: Any) -> None:
        super().__init__(**options)
        if inner_batch is not None and inner_batch < 1:
            raise UserError(f"strategy.inner_batch must be null or at least 1, not {inner_batch}")
        if self.criterion.label_smoothing:
            raise UserError("strategy.label_smoothing must be 0 for Reptile, which is not trained on the queries' loss")
        self.inner_batch = inner_batch

    def setup(self, stage: str) -> None:
        """Warn if inner batches contain the whole support."""
        super().setup(stage)
        size = self.data.size_of(self.data.primary)
        if stage == "fit" and self.inner_batch is not None and self.inner_batch >= size.way * size.shot:
            warnings.warn(
                f"strategy.inner_batch={self.inner_batch} covers the support of {size.way * size.shot} samples in "
                "every inner step, so that all steps use the same samples: increase data.train.shot",
                stacklevel=2,
            )

    def learn(self, episode: Episode, weights: Weights, statistics: dict[str, Tensor]) -> Any:
        """Adapt to each support, and compute the change of the weights."""
        fixed = {name: weight.detach() for name, weight in weights.items()}

        def task(x: Tensor, y: Tensor, rows: Tensor, query_x: Tensor, statistics: Weights) -> dict[str, Tensor]:
            adapted = self.adapted(fixed, x, y, self.inner_steps, first_order=True, rows=rows)
            outputs = self.classify_adapted(fixed, adapted, query_x, statistics)
            return {**outputs, **{f"adapted/{name}": weight for name, weight in adapted.items()}}

        support = episode.support
        tensors = support.x, support.y, self._draw(support.y), episode.query.x, statistics
        with torch.no_grad():
            outputs = over_tasks(task, tensors, self.tasks)
        adapted = {name: outputs.pop(f"adapted/{name}") for name in fixed}
        return reptile_gradient(fixed, adapted), outputs

    def _draw(self, y: Tensor) -> Tensor:
        """Draw the samples of each episode's inner steps, ``(E, inner_steps, B)``."""
        draw = generator(self.seed, "reptile", self.global_rank, self.updates_done)
        size = min(self.inner_batch or y.shape[1], y.shape[1])
        passes = -(-self.inner_steps * size // y.shape[1])
        order = torch.rand(len(y), passes, y.shape[1], generator=draw).argsort(2).flatten(1)
        return order[:, : self.inner_steps * size].unflatten(1, (self.inner_steps, size)).to(y.device)
