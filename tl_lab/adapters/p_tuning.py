"""P-tuning: vectors before the embeddings of the tokens, computed by a small trained network."""

from collections.abc import Mapping
from typing import Any

from tl_lab.adapters.before_tokens import BeforeTokens
from tl_lab.adapters.beside_layers import peft_library
from tl_lab.options import Count

__all__ = ["PTuning"]


class PTuning(BeforeTokens):
    """Learn vectors before the embeddings of the tokens of every text, and a perceptron that transforms them.

    Args:
        tokens: number of vectors.
        hidden: width of the perceptron's two hidden layers.

    References:
        X. Liu et al., "GPT Understands, Too", AI Open 2024. https://arxiv.org/abs/2103.10385
    """

    def __init__(self, tokens: Count = 10, hidden: Count = 64) -> None:
        super().__init__(tokens)
        self.hidden = hidden

    def config(self, sizes: Mapping[str, Any]) -> Any:
        """Build the library's configuration."""
        return peft_library(self).PromptEncoderConfig(encoder_hidden_size=self.hidden, **sizes)
