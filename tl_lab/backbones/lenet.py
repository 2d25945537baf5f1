"""The small convolutional network of the domain-adversarial experiments on digits."""

from collections.abc import Sequence

from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.errors import UserError
from tl_lab.options import Count, ImageSize, Probability, Share

__all__ = ["LeNet"]


class LeNet(Backbone):
    """Two 5x5 convolutions of 32 and 48 feature maps, each with ReLU and 2x2 max pooling: 28x28 -> 768 features.

    This is the feature extractor of the paper's MNIST architecture, whose two hidden layers of 100 units belong to the
    label predictor and not to the features that the discriminator receives.

    Args:
        batch_norm: normalise each convolution's feature maps before ReLU; not in the paper.
        dropout: probability of dropping a feature, in [0, 1); not in the paper.
        mean: subtracted from images in [0, 1], one number for all channels or one per channel; None for none. The paper
            subtracts the mean of its training images, and with lambda 1 training collapses without it.
        in_channels: channels of the data's images; None: 1.
        input_size: ``[H, W]`` of the data's images, which are resized to 28x28; a run refuses other values.

    Raises:
        UserError: an argument is out of its range.

    References:
        Y. Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17(59), 2016, figure 4a.
        https://jmlr.org/papers/v17/15-239.html
    """

    def __init__(
        self,
        batch_norm: bool = False,
        dropout: Probability = 0.0,
        mean: Share | Sequence[Share] | None = None,
        in_channels: Count | None = None,
        input_size: ImageSize | None = None,
    ) -> None:
        super().__init__()
        channels = 1 if in_channels is None else check_count("backbone.in_channels", in_channels)
        self.conv1 = _block(channels, 32, batch_norm)
        self.conv2 = _block(32, 48, batch_norm)
        self.dropout = nn.Dropout(check_probability("backbone.dropout", dropout))
        self.num_features = 48 * 4 * 4
        self.spec = _spec(mean, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, 28, 28)`` to ``(B, 768)``."""
        x = self.conv2(self.conv1(x))  # (B, C, 28, 28) -> (B, 32, 12, 12) -> (B, 48, 4, 4)
        return self.dropout(x.flatten(1))

    def layer_groups(self) -> list[LayerGroup]:
        """Return one group per convolution: ``conv1``, ``conv2``."""
        return [("conv1", [self.conv1]), ("conv2", [self.conv2, self.dropout])]


def _spec(mean: float | Sequence[float] | None, channels: int) -> ImageSpec:
    if mean is None:
        return ImageSpec((28, 28), channels)
    each = (float(mean),) * channels if isinstance(mean, int | float) else tuple(map(float, mean))
    if len(each) != channels or not all(0 <= value <= 1 for value in each):
        raise UserError(
            f"backbone.mean must be one number in [0, 1], or one for each of {channels} channels, not {mean}"
        )
    return ImageSpec((28, 28), channels, mean=each, std=(1.0,) * channels)


def _block(inputs: int, maps: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, maps, 5)]
    layers += [nn.BatchNorm2d(maps)] if batch_norm else []
    return nn.Sequential(*layers, nn.ReLU(), nn.MaxPool2d(2))
