"""Fully connected layers."""

from math import prod
from typing import Literal

from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability, check_size
from tl_lab.data.inputs.image import ImageSpec
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
    """Flatten the input, then one block for each hidden width: linear, batch norm, activation, dropout.

    Args:
        hidden: width of each hidden layer, shallow to deep; the last is ``num_features``. With none the features
            are the flattened input itself, and a linear head on them is softmax regression.
        activation: elu, gelu, leaky_relu, relu, sigmoid, silu or tanh.
        dropout: probability with which a hidden unit is dropped, in [0, 1).
        batch_norm: normalise each layer over the batch before its activation.
        in_channels: channels C of the data's images, or length D of its vectors.
        input_size: ``[H, W]`` of the data's images; None where the data are vectors ``(B, D)``.

    Raises:
        UserError: an argument is out of its range, or ``in_channels`` is missing.
    """

    modalities = frozenset({"image", "vector"})

    def __init__(
        self,
        hidden: Widths = (256, 128),
        activation: Literal["elu", "gelu", "leaky_relu", "relu", "sigmoid", "silu", "tanh"] = "relu",
        dropout: Probability = 0.0,
        batch_norm: bool = False,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        super().__init__()
        if in_channels is None:
            raise UserError(
                "backbone.in_channels: an MLP has to know its input; give the images' channels together with "
                "backbone.input_size, or the length of the vectors."
            )
        channels = check_count("backbone.in_channels", in_channels)
        size = (1, 1) if input_size is None else check_size("backbone.input_size", input_size)
        widths = [check_count("backbone.hidden", width) for width in hidden]
        dropout = check_probability("backbone.dropout", dropout)
        if activation not in _ACTIVATIONS:
            raise UserError(f"backbone.activation={activation} is unknown; {nearest(str(activation), _ACTIVATIONS)}")

        self.layers = nn.Sequential()
        inputs = channels * prod(size)
        for width in widths:
            layer: list[nn.Module] = [nn.Linear(inputs, width, bias=not batch_norm)]  # the batch norm has its own shift
            layer += [nn.BatchNorm1d(width)] if batch_norm else []
            layer += [_ACTIVATIONS[activation]()]
            layer += [nn.Dropout(dropout)] if dropout else []
            self.layers.append(nn.Sequential(*layer))
            inputs = width
        self.num_features = inputs
        self.spec = VectorSpec(channels) if size == (1, 1) else ImageSpec(size=size, channels=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Flatten ``(B, ...)`` and map it to ``(B, num_features)``."""
        return self.layers(x.flatten(1))

    def layer_groups(self) -> list[LayerGroup]:
        """One group for each hidden layer: ``layer1``, ``layer2``, ..."""
        return [(f"layer{number}", [layer]) for number, layer in enumerate(self.layers, start=1)]
