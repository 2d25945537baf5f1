"""Image inputs: conversion to the size and channels of a backbone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.operations import Inputs, constant
from tl_lab.data.inputs.spec import InputSpec, as_tuples

__all__ = ["ImageSpec"]

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL's conversion to grey


@dataclass(frozen=True)
class ImageSpec(InputSpec):
    """Images of a fixed size and number of channels.

    Args:
        size: height and width in pixels.
        channels: 1 (grey) or 3 (RGB).
        mean: subtracted from each channel of images in [0, 1]; None leaves them in [0, 1].
        std: divides each channel after the mean is subtracted; given if and only if ``mean`` is.
        crop_pct: share of the shorter side that the central crop keeps, in (0, 1]; it applies to files that are
            decoded. With 1, a square image is only resized.
    """

    modality: ClassVar[str] = "image"

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float = 1.0

    def fit(self, x: Tensor) -> Tensor:
        """Convert a batch of images to the declared channels and size, with values in [0, 1], without normalisation.

        Args:
            x: images, ``(N, C, H, W)``, uint8 in 0..255 or float in [0, 1].

        Returns:
            Images, ``(N, channels, *size)``, float32 in [0, 1].
        """
        x = x.float().div_(255) if x.dtype == torch.uint8 else x.float()
        if x.shape[1] == 3 and self.channels == 1:
            x = (x * constant(_LUMINANCE, x).view(1, 3, 1, 1)).sum(1, keepdim=True)
        elif x.shape[1] == 1 and self.channels == 3:
            x = x.expand(-1, 3, -1, -1)
        if tuple(x.shape[-2:]) != tuple(self.size):
            x = F.interpolate(x, self.size, mode="bilinear", antialias=True, align_corners=False).clamp_(0, 1)
        return x.contiguous()

    def normalise(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Subtract the declared mean from each channel, and divide by the declared standard deviation."""
        if self.mean is None or self.std is None:
            return x
        mean, std = constant(self.mean, x), constant(self.std, x)
        return (x - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)

    def restore(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Invert :meth:`normalise`; return images in [0, 1], up to rounding."""
        if self.mean is None or self.std is None:
            return x
        mean, std = constant(self.mean, x), constant(self.std, x)
        return (x * std.view(1, -1, 1, 1) + mean.view(1, -1, 1, 1)).clamp_(0, 1)

    def is_raw(self, x: Inputs) -> bool:
        """Whether images are still bytes."""
        return isinstance(x, Tensor) and x.dtype == torch.uint8

    def bytes_of(self, count: int) -> int:
        """Return the number of bytes of ``count`` images, one for each value."""
        return count * self.channels * self.size[0] * self.size[1]

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Reject vectors, and images whose number of channels cannot be converted (only grey and RGB can)."""
        if shape[1:] == (1, 1):
            return f"it takes images, but the data are vectors of length {shape[0]}"
        if shape[0] != self.channels and {shape[0], self.channels} != {1, 3}:
            return f"it takes images of {self.channels} channels, but the data have {shape[0]}"
        return ""

    def state(self) -> dict[str, Any]:
        """Return size, channels and normalisation as plain values."""
        return {"modality": self.modality, **asdict(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from size, channels and normalisation."""
        return cls(**as_tuples(state))

    def __str__(self) -> str:
        return f"{self.channels}x{self.size[0]}x{self.size[1]}"

    def changes(self, shape: tuple[int, ...]) -> list[str]:
        """Describe what :meth:`fit` changes in images of shape ``(C, H, W)``; empty if nothing."""
        channels, height, width = shape
        differences = []
        if channels != self.channels:
            differences.append(f"{channels} -> {self.channels} channel{'s' if self.channels > 1 else ''}")
        if (height, width) != tuple(self.size):
            differences.append(f"{height}x{width} -> {self.size[0]}x{self.size[1]} pixels")
        return differences
