"""DoRA: LoRA on the directions of weights, and a trained magnitude of each output."""

from tl_lab.adapters.lora import LoRA

__all__ = ["DoRA"]


class DoRA(LoRA):
    """Learn a low-rank update of the direction of each chosen layer's weights, and the magnitude of each output.

    W' = m * (W + alpha / rank * B A) / |W + alpha / rank * B A|, with norms over inputs; m starts as |W|.
    The arguments are those of :class:`~tl_lab.adapters.lora.LoRA`.

    References:
        S.-Y. Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", ICML 2024. https://arxiv.org/abs/2402.09353
    """

    dora = True
