"""SqueezeNet 1.0 with its ImageNet weights from the folder of data sets."""

from tl_lab.backbones.packaged import packaged
from tl_lab.backbones.torchvision import Torchvision
from tl_lab.options import Count, ImageSize

__all__ = ["SqueezeNet"]


class SqueezeNet(Torchvision):
    """SqueezeNet 1.0 with its last feature maps averaged over the image: 512 features.

    Its published top-1 accuracy on ImageNet is 57.5 %.

    Args:
        pretrained: start from the ImageNet weights (see ``python -m tl_lab weights``); False for random ones.
        weights: local file of this model's weights, in place of the known ones.
        resize_to: ``[H, W]`` of the input; None: with trained weights 224 x 224; without, the data's.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        in_channels: channels of the data's images; None: 3.
        input_size: ``[H, W]`` of the data's images; None: unknown.

    Raises:
        UserError: the weights are missing or differ from the known ones; otherwise as for :class:`Torchvision`.

    References:
        F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
        2016.
        https://arxiv.org/abs/1602.07360
    """

    def __init__(
        self,
        pretrained: bool = True,
        weights: str | None = None,
        resize_to: ImageSize | None = None,
        max_groups: Count | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        known = packaged("squeezenet1_0") if pretrained and weights is None else None
        super().__init__(
            name="squeezenet1_0",
            weights=weights if known is None else str(next(iter(known.locate().values()))),
            resize_to=resize_to,
            max_groups=max_groups,
            in_channels=in_channels,
            input_size=input_size,
        )
        if known is not None:
            self.source = next(iter(known.files))
