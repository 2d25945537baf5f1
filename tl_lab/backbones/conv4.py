"""The four-block network of the few-shot literature."""

from typing import Literal

from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_size
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.errors import UserError
from tl_lab.options import Count, ImageSize

__all__ = ["Conv4"]

_BLOCKS = 4
_ENLARGED = (28, 28)


class Conv4(Backbone):
    """Four blocks of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, flattened.

    ``num_features = width * floor(H / 16) * floor(W / 16)``: with 64 feature maps, 64 for 28x28 and 1600 for 84x84.
    With strides in place of pooling, the last feature maps are averaged: ``num_features = width``.

    Args:
        width: feature maps (channels) of each convolution.
        halving: how a block halves height and width: ``max_pool``, or ``stride`` 2 (MAML on Omniglot).
        resize_to: ``[H, W]`` to which images are resized, at least 16x16; None: their own size, or 28x28 (the size of
            Omniglot in the literature) if a side is below 16.
        in_channels: channels of the data's images; None: 3.
        input_size: ``[H, W]`` of the data's images; None: 84x84, as for miniImageNet.

    Raises:
        UserError: an argument is out of its range.

    References:
        O. Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016. https://arxiv.org/abs/1606.04080
        J. Snell, K. Swersky, R. Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.
        https://arxiv.org/abs/1703.05175
        C. Finn, P. Abbeel, S. Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017.
        https://arxiv.org/abs/1703.03400
    """

    def __init__(
        self,
        width: Count = 64,
        halving: Literal["max_pool", "stride"] = "max_pool",
        resize_to: ImageSize | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        super().__init__()
        width = check_count("backbone.width", width)
        if halving not in ("max_pool", "stride"):
            raise UserError(f"backbone.halving must be 'max_pool' or 'stride', got {halving!r}.")
        channels = 3 if in_channels is None else check_count("backbone.in_channels", in_channels)
        size = (84, 84) if input_size is None else check_size("backbone.input_size", input_size)
        least = 2**_BLOCKS
        if resize_to is not None:
            size = check_size("backbone.resize_to", resize_to)
        elif min(size) < least:
            size = _ENLARGED
        if min(size) < least:
            raise UserError(
                f"backbone.resize_to: Conv4 halves its input four times and needs images of at least "
                f"{least}x{least} pixels, got {size[0]}x{size[1]}; give a larger size."
            )
        strided = halving == "stride"
        self.blocks = nn.Sequential(*(_block(width if n else channels, width, strided) for n in range(_BLOCKS)))
        self.averages = strided
        self.num_features = width if strided else width * (size[0] // least) * (size[1] // least)
        self.spec = ImageSpec(size=size, channels=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, num_features)``."""
        maps = self.blocks(x)
        return maps.mean((2, 3)) if self.averages else maps.flatten(1)

    def layer_groups(self) -> list[LayerGroup]:
        """Return one group per block: ``block1`` to ``block4``."""
        return [(f"block{number}", [block]) for number, block in enumerate(self.blocks, start=1)]


def _block(inputs: int, maps: int, strided: bool) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, maps, 3, stride=2 if strided else 1, padding=1)
    pooling = [] if strided else [nn.MaxPool2d(2)]
    return nn.Sequential(convolution, nn.BatchNorm2d(maps), nn.ReLU(), *pooling)
