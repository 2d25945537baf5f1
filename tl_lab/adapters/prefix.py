"""Prefix tuning: learned keys and values before those of the tokens, in every layer."""

from collections.abc import Mapping
from typing import Any

from tl_lab.adapters.before_tokens import BeforeTokens
from tl_lab.adapters.beside_layers import peft_library
from tl_lab.options import Count

__all__ = ["PrefixTuning"]


class PrefixTuning(BeforeTokens):
    """Learn keys and values that precede those of the tokens in every layer's attention.

    Args:
        tokens: number of keys and values in each layer.

    References:
        X. L. Li, P. Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", ACL 2021.
        https://arxiv.org/abs/2101.00190
    """

    # their attention does not accept preceding keys and values
    impossible = frozenset({"albert", "deberta", "deberta-v2", "distilbert", "modernbert", "mpnet", "mt5", "t5"})

    def __init__(self, tokens: Count = 10) -> None:
        super().__init__(tokens)

    def config(self, sizes: Mapping[str, Any]) -> Any:
        """Build the library's configuration."""
        library = peft_library(self)
        return library.PrefixTuningConfig(**sizes)
