"""Matching networks."""

from typing import Any

from torch import Tensor

from tl_lab.errors import UserError
from tl_lab.functional import attention_logits
from tl_lab.options import Positive
from tl_lab.strategies.few_shot.base import EmbeddingStrategy

__all__ = ["Matching"]


class Matching(EmbeddingStrategy):
    """Train an embedding in which attention over the support classifies the queries.

    P(y = k | x) = sum over the class's support of softmax_i(scale * cos(f(x), f(x_i))). Support and queries share the
    encoder; full context embeddings, which read the whole support with an LSTM, are omitted.

    Args:
        scale: factor of the cosine, > 0; 1 in the paper.
        options: keyword arguments of :class:`~tl_lab.strategies.few_shot.base.FewShotStrategy`.

    Raises:
        UserError: for a scale that is not above 0.

    References:
        Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, section 2.1.
        https://arxiv.org/abs/1606.04080
    """

    def __init__(self, *, scale: Positive = 10.0, **options: Any) -> None:
        super().__init__(**options)
        if not scale > 0:
            raise UserError(f"strategy.scale must be above 0, not {scale}")
        self.scale = scale

    def compare(self, support: Tensor, labels: Tensor, query: Tensor, way: int) -> Tensor:
        """Return the logarithms of the attention on each class."""
        return attention_logits(query, support, labels, way, self.scale)

    def facts(self) -> dict[str, str]:
        """Report the variant in addition to the facts of every few-shot strategy."""
        return {**super().facts(), "matching": f"cosine x {self.scale:g}, without full context embeddings"}
