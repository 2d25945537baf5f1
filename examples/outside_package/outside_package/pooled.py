"""One convolution and a pool: the smallest backbone that learns from images."""

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup
from tl_lab.data.inputs.image import ImageSpec


class Pooled(Backbone):
    """A convolution of ``width`` 3x3 filters, rectified and averaged over the image."""

    def __init__(self, width: int = 16, in_channels: int = 1, input_size: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, width, 3)
        self.num_features = width
        self.spec = ImageSpec(size=tuple(input_size), channels=in_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(B, C, H, W)`` to ``(B, width)``."""
        return torch.relu(self.convolution(x)).mean((2, 3))

    def layer_groups(self) -> list[LayerGroup]:
        """The convolution is the only group."""
        return [("convolution", [self.convolution])]
