"""Per-sample gradients of a layer, computed from the layer's input and the gradient at its output."""

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["EmbeddingSums", "LayerSums", "has_closed_form", "sums_of", "wide"]

_FORWARDS = frozenset(
    {
        nn.Linear.forward, nn.Conv2d.forward, _BatchNorm.forward, nn.LayerNorm.forward, nn.GroupNorm.forward,
        nn.Embedding.forward,
    }
)  # fmt: skip


def has_closed_form(layer: nn.Module) -> bool:
    """Whether :func:`sums_of` supports a layer; subclasses that override the forward pass are not supported.

    Examples:
        >>> has_closed_form(torch.nn.Linear(2, 2)), has_closed_form(torch.nn.LSTM(2, 2))
        (True, False)
    """
    if type(layer).forward not in _FORWARDS or "forward" in vars(layer):
        return False
    if isinstance(layer, nn.Embedding):
        return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse
    return not isinstance(layer, nn.Conv2d) or (layer.padding_mode == "zeros" and isinstance(layer.padding, tuple))


def wide(dtype: torch.dtype) -> torch.dtype:
    """Widen half precision to single precision, because in half, squares vanish and sums stop growing.

    Examples:
        >>> wide(torch.float16), wide(torch.float64)
        (torch.float32, torch.float64)
    """
    return torch.promote_types(dtype, torch.float32)


class LayerSums:
    """Sums |gradient|^power over the samples of a batch and over all gradients added at the output.

    Each layer is a linear map in G groups, from I inputs to P outputs, at L positions of a sample. The gradient of one
    sample is sum_l g_pl a_il for the weight and sum_l g_pl for the bias. A normalising layer has one group per channel
    and I = P = 1. For L = 1 the power of the product is the product of the powers: those of g are summed first, so that
    a batch needs one matrix product for any number of gradients.

    Args:
        layer: called once on the batch, in evaluation mode.
        names: the requested ones of ``weight`` and ``bias``.
        x: the layer's input, ``(B, ...)``.
        output: the layer's output, ``(B, ...)``.
        power: 1 or 2.
        chunk_bytes: approximate largest size of the per-sample gradients in memory.
        keep_bytes: largest size of a convolution's patches that are kept from one gradient to the next.

    Examples:
        >>> layer, x = torch.nn.Linear(1, 1), torch.tensor([[1.0], [2.0]])
        >>> sums = LayerSums(layer, ["weight"], x, layer(x), power=2, chunk_bytes=2**20)
        >>> sums.add(torch.ones(2, 1))
        >>> sums.totals()["weight"].tolist()
        [[5.0]]
    """

    def __init__(
        self,
        layer: Any,
        names: Collection[str],
        x: Tensor,
        output: Tensor,
        power: int,
        chunk_bytes: int,
        keep_bytes: int = 0,
    ) -> None:
        weight, norm, x = layer.weight, not isinstance(layer, nn.Linear | nn.Conv2d), x.to(wide(x.dtype))
        self.layer, self.names, self.power = layer, names, power
        self.groups = weight.numel() if norm else getattr(layer, "groups", 1)
        self.inputs = weight.numel() if norm else weight[0].numel() * self.groups  # G I
        self.outputs = weight.numel() if norm else len(weight)  # G P
        self.x = _normalised(layer, x) if norm else x
        positions = output[0].numel() // self.outputs
        self.once = positions == 1
        patches = self.inputs * positions * x.itemsize  # a sample's, in bytes
        self.rows = max(1, chunk_bytes // (patches + weight.numel() * x.itemsize))
        self.kept: list[Tensor] | None = None
        if isinstance(layer, nn.Conv2d) and "weight" in names and not self.once and patches * len(x) <= keep_bytes:
            self.kept = list(self._chunks())
        self.kept_bytes = patches * len(x) if self.kept else 0
        self.powers = x.new_zeros(len(x), self.groups, self.outputs // self.groups) if self.once else None  # of g
        self.sums = {name: x.new_zeros(getattr(layer, name).shape) for name in names}

    def add(self, g: Tensor) -> None:
        """Add the per-sample gradients that result from a gradient at the output, shaped like the output."""
        g = self._grouped(g.to(self.x.dtype), self.outputs)
        if "bias" in self.names:
            self._sum("bias", self._raised(g.sum(-1)))
        if "weight" in self.names and self.powers is not None:
            self.powers += self._raised(g[..., 0].clone())
        elif "weight" in self.names:
            one_by_one = self.groups == self.inputs == self.outputs
            for a, chunk in zip(self.kept or self._chunks(), g.split(self.rows), strict=True):
                self._sum("weight", self._raised((chunk * a).sum(-1) if one_by_one else chunk @ a.mT))

    def totals(self) -> dict[str, Tensor]:
        """Return the sums by name, in the parameters' shapes."""
        if "weight" in self.names and self.powers is not None:
            a = self._raised(self._patches(self.x)[..., 0].clone())
            self._sum("weight", torch.einsum("bgp,bgi->gpi", self.powers, a)[None])
        return self.sums

    def _sum(self, name: str, terms: Tensor) -> None:
        self.sums[name] += terms.sum(0).view_as(self.sums[name])

    def _chunks(self) -> Iterable[Tensor]:
        return (self._patches(chunk) for chunk in self.x.split(self.rows))

    def _patches(self, x: Tensor) -> Tensor:
        """Collect the inputs of the weight at each position: ``(B, ...)`` -> ``(B, G, I, L)``."""
        if isinstance(self.layer, nn.Conv2d):
            conv: Any = self.layer
            x = F.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        return self._grouped(x, self.inputs)

    def _grouped(self, values: Tensor, channels: int) -> Tensor:
        """``(B, ..., D)`` of linear and layer-norm, ``(B, D, ...)`` of the others -> ``(B, G, D / G, L)``."""
        if isinstance(self.layer, nn.Linear | nn.LayerNorm):
            values = values.reshape(len(values), -1, channels).mT
        return values.reshape(len(values), self.groups, channels // self.groups, -1)

    def _raised(self, gradients: Tensor) -> Tensor:
        """Compute |gradients|^power in place."""
        return gradients.square_() if self.power == 2 else gradients.abs_()


class EmbeddingSums:
    """The same sums for an embedding: the gradient of row r is the sum of g over the positions that contain r.

    Args:
        layer: called once on the batch.
        x: numbers of rows, ``(B, ...)``.
        power: 1 or 2.

    Examples:
        >>> layer, x = torch.nn.Embedding(3, 1), torch.tensor([[0, 0], [0, 2]])
        >>> sums = EmbeddingSums(layer, x, power=2)
        >>> sums.add(torch.ones(2, 2, 1))
        >>> sums.totals()["weight"].flatten().tolist()  # row 0: twice in one sample, once in the other
        [5.0, 0.0, 1.0]
    """

    kept_bytes = 0

    def __init__(self, layer: nn.Embedding, x: Tensor, power: int) -> None:
        self.layer, self.power = layer, power
        rows = x.reshape(len(x), -1)
        self.inside = (rows != layer.padding_idx) if layer.padding_idx is not None else torch.ones_like(rows).bool()
        pairs = torch.arange(len(rows), device=x.device)[:, None] * layer.num_embeddings + rows
        kept, self.place = pairs[self.inside].unique(return_inverse=True)  # of a sample and a row
        self.row = kept % layer.num_embeddings
        self.sum = torch.zeros_like(layer.weight, dtype=wide(layer.weight.dtype))

    def add(self, g: Tensor) -> None:
        """Add the per-sample gradients that result from a gradient at the output, ``(B, ..., D)``."""
        g = g.to(self.sum.dtype).reshape(*self.inside.shape, -1)[self.inside]  # (P, D)
        each = g.new_zeros(len(self.row), g.shape[1]).index_add_(0, self.place, g)
        self.sum.index_add_(0, self.row, each.square_() if self.power == 2 else each.abs_())

    def totals(self) -> dict[str, Tensor]:
        """Return the sum by name."""
        return {"weight": self.sum}


def sums_of(
    layer: Any, names: Collection[str], x: Tensor, output: Tensor, power: int, chunk_bytes: int, keep_bytes: int = 0
) -> LayerSums | EmbeddingSums:
    """Choose the class of sums for a layer; the arguments are those of :class:`LayerSums`.

    Examples:
        >>> layer, x = torch.nn.Embedding(2, 3), torch.tensor([[0]])
        >>> type(sums_of(layer, ["weight"], x, layer(x), power=2, chunk_bytes=2**20)).__name__
        'EmbeddingSums'
    """
    if isinstance(layer, nn.Embedding):
        return EmbeddingSums(layer, x, power)
    return LayerSums(layer, names, x, output, power, chunk_bytes, keep_bytes)


def _normalised(norm: Any, x: Tensor) -> Tensor:
    """Compute the normalised input of a normalising layer, before its scale and shift."""
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    if isinstance(norm, nn.GroupNorm):
        return F.group_norm(x, norm.num_groups, eps=norm.eps)
    mean, variance = norm.running_mean.to(x.dtype), norm.running_var.to(x.dtype)
    return F.batch_norm(x, mean, variance, eps=norm.eps)
