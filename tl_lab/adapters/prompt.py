"""Prompt tuning: learned vectors before the embeddings of the tokens."""

from collections.abc import Mapping
from typing import Any

from tl_lab.adapters.before_tokens import BeforeTokens
from tl_lab.adapters.beside_layers import peft_library
from tl_lab.options import Count

__all__ = ["PromptTuning"]


class PromptTuning(BeforeTokens):
    """Learn vectors before the embeddings of the tokens of every text, initialised as randomly drawn embeddings.

    Args:
        tokens: number of vectors.

    References:
        B. Lester, R. Al-Rfou, N. Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", EMNLP 2021.
        https://arxiv.org/abs/2104.08691
    """

    def __init__(self, tokens: Count = 10) -> None:
        super().__init__(tokens)

    def config(self, sizes: Mapping[str, Any]) -> Any:
        """Build the library's configuration."""
        return peft_library(self).PromptTuningConfig(prompt_tuning_init="SAMPLE_VOCAB", **sizes)
