"""LoRA: low-rank updates of the weights of chosen layers."""

from collections.abc import Sequence
from typing import Any

from tl_lab.adapters.beside_layers import BesideLayers, peft_library
from tl_lab.adapters.targets import AUTO, exactly
from tl_lab.options import Count, Positive, Probability

__all__ = ["LoRA"]


class LoRA(BesideLayers):
    """Learn a low-rank update of each chosen layer: W + alpha / rank * B A, with B zero at the start.

    Args:
        rank: r of the update, at least 1.
        alpha: the update is scaled by alpha / rank; None: twice the rank.
        dropout: on the input of the update, in [0, 1).
        targets: ``auto``: queries and values of attention, or every layer of a network without attention;
            ``all-linear``; or a regular expression.

    References:
        E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
        https://arxiv.org/abs/2106.09685
    """

    dora = False

    def __init__(
        self, rank: Count = 8, alpha: Positive | None = None, dropout: Probability = 0.0, targets: str = AUTO
    ) -> None:
        super().__init__(targets)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout

    def config(self, layers: Sequence[str]) -> Any:
        """Build the library's configuration."""
        return peft_library(self).LoraConfig(
            r=self.rank,
            lora_alpha=2 * self.rank if self.alpha is None else self.alpha,
            lora_dropout=self.dropout,
            target_modules=exactly(layers),
            use_dora=self.dora,
        )

    def summary(self) -> str:
        """Name the method and its rank."""
        return f"{type(self).__name__} of rank {self.rank}"
