"""Prototypical networks."""

from typing import Any, Literal

from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.functional import cosine_similarities, prototypes
from tl_lab.functional.prototypes import squared_distances
from tl_lab.options import Positive
from tl_lab.strategies.few_shot.base import EmbeddingStrategy

__all__ = ["Prototypical"]


class Prototypical(EmbeddingStrategy):
    """Train an embedding in which every sample is nearest to the mean of its class's support.

    p(y = k | x) is proportional to exp(-|f(x) - c_k|^2), or to exp(scale * cos(f(x), c_k)).

    Args:
        distance: ``euclidean``, squared (as in the paper), or ``cosine``.
        scale: factor of the cosine, > 0; unused by ``euclidean``.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.base.FewShotStrategy`.

    Raises:
        UserError: for an unknown distance or a scale that is not above 0.

    References:
        Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, equations 1 and 2.
        https://arxiv.org/abs/1703.05175
    """

    def __init__(
        self, *, distance: Literal["euclidean", "cosine"] = "euclidean", scale: Positive = 10.0, **options: Any
    ) -> None:
        super().__init__(**options)
        if distance not in ("euclidean", "cosine"):
            raise UserError(f"strategy.distance must be 'euclidean' or 'cosine', not {distance!r}")
        if not scale > 0:
            raise UserError(f"strategy.scale must be above 0, not {scale}")
        self.distance, self.scale = distance, scale

    def compare(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Return the negative squared distances, or the scaled cosines, to the class means."""
        centres = prototypes(support, labels, way)
        if self.distance == "euclidean":
            return -squared_distances(query, centres)
        return self.scale * cosine_similarities(query, centres)

    def facts(self) -> dict[str, str]:
        """Report the distance in addition to the facts of every few-shot strategy."""
        return {**super().facts(), "distance to prototypes": self.distance}
