"""Ordinary training with a cosine classifier, and a cosine classifier fitted to each support."""

from typing import Any

import torch
from torch import Tensor, nn

from tl_lab.errors import UserError
from tl_lab.functional import cosine_scores, random_heads
from tl_lab.model.network import weights_stream
from tl_lab.options import Positive
from tl_lab.strategies.few_shot.baseline import Baseline

__all__ = ["BaselinePlusPlus", "CosineHead"]


class CosineHead(nn.Module):
    """Logits scale * cos(f, w_k), without biases: ``(B, inputs) -> (B, outputs)``.

    Args:
        inputs: width of the features.
        outputs: number of classes.
        scale: factor of the cosine.
    """

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Linear(inputs, outputs, bias=False).weight.detach())
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Compare features ``(B, D)`` with each class's weights."""
        return cosine_scores(features[None], self.weight[None], self.scale)[0]

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]} -> {self.weight.shape[0]}, scale={self.scale:g}"


class BaselinePlusPlus(Baseline):
    """Baseline with cosine classifiers for the training classes and for each support.

    Args:
        scale: factor of the cosine, > 0. The published code uses 2 up to 200 classes and 10 above, and trains the norm
            of each class's weights; here norms have no effect.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.baseline.Baseline`, without ``head``.

    Raises:
        UserError: for a scale that is not above 0.

    References:
        Chen et al., A Closer Look at Few-shot Classification, ICLR 2019, section 3.2.
        https://arxiv.org/abs/1904.04232
    """

    def __init__(self, *, scale: Positive = 10.0, **options: Any) -> None:
        super().__init__(**options)
        if not scale > 0:
            raise UserError(f"strategy.scale must be above 0, not {scale}")
        self.scale = scale
        with weights_stream(self.seed, "head"):
            self.network.head = CosineHead(self.network.num_features, self.num_outputs, scale)

    def scores(self, features: Tensor, *head: Tensor) -> Tensor:
        """Return the logits ``(E, M, N)`` of heads on features ``(E, M, D)``."""
        (weight,) = head
        return cosine_scores(features, weight, self.scale)

    def start(self, way: int, width: int, draw: torch.Generator) -> tuple[Tensor, ...]:
        """Draw the initial weights of one head, ``(1, ...)``."""
        return random_heads(1, way, width, draw)[:1]
