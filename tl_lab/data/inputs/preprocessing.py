"""What a backbone wants to be fed, and how images are brought to it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Preprocessing"]

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's conversion to grey


@dataclass(frozen=True)
class Preprocessing:
    """The input a backbone declares: the run hands it to the data, and the data are brought to it.

    Args:
        size: height and width in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean: subtracted from each channel of images in [0, 1]; None leaves them in [0, 1].
        std: divides each channel after the mean was subtracted; given if and only if ``mean`` is.
        crop_pct: share of the shorter side that the central crop keeps, in (0, 1]; applies to photographs
            that are not square already (1 and a square image: a plain resize).
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float = 1.0

    def fit(self, x: Tensor) -> Tensor:
        """Bring a batch of images to the declared channels and size, values to [0, 1]; no normalisation yet.

        Args:
            x: images, ``(N, C, H, W)``, uint8 in 0..255 or float in [0, 1]; vectors ``(N, D)`` are left alone.

        Returns:
            Images, ``(N, channels, *size)``, float32 in [0, 1].
        """
        if x.dim() == 2:
            return x.float()  # vectors are what they are
        x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
        if x.shape[1] == 3 and self.channels == 1:
            x = (x * x.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
        elif x.shape[1] == 1 and self.channels == 3:
            x = x.expand(-1, 3, -1, -1)
        if tuple(x.shape[-2:]) != tuple(self.size):
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False).clamp_(0, 1)
        return x.contiguous()

    def normalise(self, x: Tensor) -> Tensor:
        """Subtract the declared mean and divide by the declared deviation, channel by channel."""
        if self.mean is None or self.std is None:
            return x
        mean, std = x.new_tensor(self.mean), x.new_tensor(self.std)
        return (x - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)

    def restore(self, x: Tensor) -> Tensor:
        """Undo :meth:`normalise`: images in [0, 1] again, up to rounding; vectors are as they were."""
        if self.mean is None or self.std is None:
            return x
        mean, std = x.new_tensor(self.mean), x.new_tensor(self.std)
        return (x * std.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)).clamp_(0, 1)

    def changes(self, shape: tuple[int, int, int]) -> list[str]:
        """Say in words what :meth:`fit` does to images of a given ``(C, H, W)`` shape; empty if nothing."""
        channels, height, width = shape
        told = []
        if channels != self.channels:
            told.append(f"{channels} -> {self.channels} channel{'s' if self.channels > 1 else ''}")
        if (height, width) != tuple(self.size):
            told.append(f"{height}x{width} -> {self.size[0]}x{self.size[1]} pixels")
        return told
