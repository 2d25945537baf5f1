"""IA3: learned scales of keys, values and hidden activations."""

from collections.abc import Sequence
from typing import Any

from tl_lab.adapters.beside_layers import BesideLayers, peft_library
from tl_lab.adapters.targets import AUTO, FEEDFORWARD, exactly

__all__ = ["IA3"]


class IA3(BesideLayers):
    """Learn a factor for each output of the chosen layers, or for each input of a block's last one; 1 at the start.

    Args:
        targets: ``auto``: keys and values of attention and the last layer of each block's perceptron, or every layer of
            a network without attention; ``all-linear``; or a regular expression.

    References:
        H. Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        NeurIPS 2022. https://arxiv.org/abs/2205.05638
    """

    attention, feedforward, one_dimensional = "key, value", True, False

    def __init__(self, targets: str = AUTO) -> None:
        super().__init__(targets)

    def config(self, layers: Sequence[str]) -> Any:
        """Build the library's configuration."""
        inputs = [name for name in layers if any(name == end or name.endswith(f".{end}") for end in FEEDFORWARD)]
        return peft_library(self).IA3Config(target_modules=exactly(layers), feedforward_modules=exactly(inputs))

    def summary(self) -> str:
        """Name the method."""
        return "IA3"
