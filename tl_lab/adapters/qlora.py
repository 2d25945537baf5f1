"""QLoRA: LoRA on a base whose linear layers are stored in 4 or 8 bits."""

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from tl_lab.adapters.beside_layers import root_of
from tl_lab.adapters.lora import LoRA
from tl_lab.adapters.targets import ALL, adaptable
from tl_lab.backbones.base import Backbone
from tl_lab.errors import UserError
from tl_lab.options import Count, Positive, Probability

__all__ = ["QLoRA"]


class QLoRA(LoRA):
    """LoRA on a backbone whose linear layers are quantised by the library bitsandbytes, on a GPU.

    Args:
        bits: 4 (NormalFloat, doubly quantised) or 8.
        rank: see :class:`~tl_lab.adapters.lora.LoRA`.
        alpha: likewise.
        dropout: likewise.
        targets: of the updates; every linear layer by default, as in the paper.

    References:
        T. Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", NeurIPS 2023.
        https://arxiv.org/abs/2305.14314
    """

    needs_source = True

    def __init__(
        self,
        bits: Literal[4, 8] = 4,
        rank: Count = 8,
        alpha: Positive | None = None,
        dropout: Probability = 0.0,
        targets: str = ALL,
    ) -> None:
        super().__init__(rank, alpha, dropout, targets)
        self.bits = bits

    def objection(self, backbone: type[Backbone], node: Mapping[str, Any]) -> str:
        """Refuse machines without a GPU or the library."""
        if not torch.cuda.is_available():
            return "quantised layers need a GPU, but PyTorch finds none"
        if importlib.util.find_spec("bitsandbytes") is None:
            return "quantised layers need the library bitsandbytes, which is not installed"
        return super().objection(backbone, node)

    def inject(self, backbone: Backbone) -> Backbone:
        """Quantise the linear layers, and add the updates."""
        if reason := self.objection(type(backbone), {}):
            raise UserError(f"adapter=qlora cannot be used here: {reason}; use adapter=lora")
        quantise(root_of(backbone), self.bits)
        return super().inject(backbone)

    def merge(self, backbone: Backbone) -> Backbone:
        """Raise an error, because quantised weights cannot represent the update."""
        raise UserError("an update of quantised weights cannot be merged into them: start from a run with adapter=lora")

    def summary(self) -> str:
        """Name the method, its rank, and the number of bits of the base."""
        return f"LoRA of rank {self.rank} on a base of {self.bits} bits"


def quantise(root: nn.Module, bits: int) -> None:
    """Replace a network's linear layers by quantised ones, which are compressed when they are moved to the GPU.

    Args:
        root: the network, changed in place.
        bits: 4 or 8.
    """
    from bitsandbytes import nn as quantised

    modules: dict[str, Any] = dict(root.named_modules())
    for path in adaptable(root)[0]:
        old = modules[path]
        if type(old) is not nn.Linear:
            continue
        sizes: dict[str, Any] = {"bias": old.bias is not None}
        new: Any
        if bits == 4:
            new = quantised.Linear4bit(
                old.in_features, old.out_features, compute_dtype=old.weight.dtype, quant_type="nf4", **sizes
            )
            new.weight = quantised.Params4bit(old.weight.data, requires_grad=False, quant_type="nf4")
        else:
            new = quantised.Linear8bitLt(old.in_features, old.out_features, has_fp16_weights=False, **sizes)
            new.weight = quantised.Int8Params(old.weight.data, requires_grad=False, has_fp16_weights=False)
        new.bias = old.bias
        parent, _, name = path.rpartition(".")
        setattr(root.get_submodule(parent), name, new)
