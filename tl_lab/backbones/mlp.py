"""Fully connected layers."""

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability, check_size
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.table import TableSpec
from tl_lab.data.inputs.vector import VectorSpec
from tl_lab.errors import UserError, nearest
from tl_lab.options import Count, ImageSize, Probability, Widths

__all__ = ["MLP"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class MLP(Backbone):
    """A flattened input and one block per hidden width: linear, batch norm, activation, dropout.

    For a row of a table, the input consists of its numbers, a flag for each number that may be missing, and a learned
    vector for each category, of length min(50, (C + 2) // 2) for C categories.

    Args:
        hidden: width of each hidden layer, shallow to deep; the last is ``num_features``. Without hidden layers, the
            features are the flattened input, and a linear head on them is softmax regression.
        activation: elu, gelu, leaky_relu, relu, sigmoid, silu or tanh.
        dropout: probability of dropping a hidden unit, in [0, 1).
        batch_norm: normalise each layer over the batch before its activation.
        in_channels: channels C of the data's images, or length D of its vectors.
        input_size: ``[H, W]`` of the data's images; None for vectors ``(B, D)``.
        columns: columns of the data, for tables; filled in by the run.

    Raises:
        UserError: an argument is out of its range, or ``in_channels`` is missing.
    """

    modalities = frozenset({"image", "vector", "table"})

    def __init__(
        self,
        hidden: Widths = (256, 128),
        activation: Literal["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "tanh"] = "relu",
        dropout: Probability = 0.0,
        batch_norm: bool = False,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
        columns: TableSpec | None = None,
    ) -> None:
        super().__init__()
        self.row = None if columns is None else _Row(columns)
        if in_channels is None and self.row is None:
            raise UserError(
                "backbone.in_channels: an MLP needs the size of its input; give the images' channels together with "
                "backbone.input_size, or the length of the vectors."
            )
        channels = 1 if in_channels is None else check_count("backbone.in_channels", in_channels)
        size = (1, 1) if input_size is None else check_size("backbone.input_size", input_size)
        widths = [check_count("backbone.hidden", width) for width in hidden]
        dropout = check_probability("backbone.dropout", dropout)
        if activation not in _ACTIVATIONS:
            raise UserError(f"backbone.activation={activation} is unknown; {nearest(str(activation), _ACTIVATIONS)}")

        self.layers = nn.Sequential()
        inputs = channels * prod(size) if self.row is None else self.row.width
        for width in widths:
            layer: list[nn.Module] = [nn.Linear(inputs, width, bias=not batch_norm)]  # the batch norm has its own shift
            layer += [nn.BatchNorm1d(width)] if batch_norm else []
            layer += [_ACTIVATIONS[activation]()]
            layer += [nn.Dropout(dropout)] if dropout else []
            self.layers.append(nn.Sequential(*layer))
            inputs = width
        self.num_features = inputs
        self.spec = VectorSpec(channels) if size == (1, 1) else ImageSpec(size=size, channels=channels)
        if columns is not None:
            self.spec = columns

    def forward(self, x: Inputs) -> Tensor:
        """Flatten ``(B, ...)`` and map it to ``(B, num_features)``."""
        if self.row is not None:
            x = self.row(x)
        assert isinstance(x, Tensor)
        return self.layers(x.flatten(1))

    def layer_groups(self) -> list[LayerGroup]:
        """Return the ``embeddings`` of categories, if any, and one group per hidden layer: ``layer1``, ``layer2``..."""
        groups: list[LayerGroup] = [("embeddings", [self.row])] if self.row is not None and self.row.embeddings else []
        return groups + [(f"layer{number}", [layer]) for number, layer in enumerate(self.layers, start=1)]


class _Row(nn.Module):
    """Concatenates numbers, flags of known numbers, and vectors of categories: ``(B, width)``."""

    def __init__(self, columns: TableSpec) -> None:
        super().__init__()
        sizes = [len(values) for values in columns.values]
        self.embeddings = nn.ModuleList(nn.Embedding(1 + size, min(50, (size + 2) // 2)) for size in sizes)
        self.gaps = [columns.numbers.index(name) for name in columns.gaps]
        self.width = len(columns.numbers) + len(self.gaps) + sum(min(50, (size + 2) // 2) for size in sizes)

    def forward(self, x: Inputs) -> Tensor:
        assert not isinstance(x, Tensor)
        parts = [x["numbers"], x["known"][:, self.gaps]] if "numbers" in x else []
        if "categories" in x:
            parts += [embed(codes) for embed, codes in zip(self.embeddings, x["categories"].unbind(1), strict=True)]
        return torch.cat(parts, 1)
