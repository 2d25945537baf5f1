"""Random changes to training images: a batch at a time, with separate random parameters for each image."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.spec import InputSpec
from tl_lab.errors import UserError
from tl_lab.options import NonNegative, Positive, Probability, Share

__all__ = ["Augmentation", "RandomChange"]


class RandomChange(ABC):
    """A random change to training inputs, drawn anew in every epoch."""

    modalities: ClassVar[frozenset[str]]
    """Modalities of the supported inputs."""
    changes: ClassVar[str]
    """Name of the supported inputs, for messages."""
    active: bool
    """Whether it changes anything."""

    def use(self, spec: InputSpec) -> None:
        """Set the input specification of the backbone.

        Raises:
            UserError: inputs of this modality are not supported.
        """
        if self.active and spec.modality not in self.modalities:
            raise UserError(
                f"augmentation changes {self.changes}, but these data are {spec.modality}: set augmentation=none"
            )

    @abstractmethod
    def __call__(self, x: Any, draw: torch.Generator) -> Any:
        """Change a batch of fitted inputs, ``(B, ...)``, with random numbers from a CPU generator."""


class Augmentation(RandomChange):
    """Random changes of geometry, brightness, contrast and noise, drawn for each image.

    Args:
        rotation: largest angle in degrees, in either direction.
        translation: largest shift in either direction, relative to width and height, in [0, 1).
        scale: smallest and largest factor of enlargement, drawn log-uniformly.
        flip: probability of a left-right flip, in [0, 1].
        brightness: largest amount added or subtracted, in [0, 1].
        contrast: largest relative change of the difference from the image's mean, in [0, 1).
        noise: standard deviation of the Gaussian noise added, in [0, 1].

    Raises:
        UserError: an option is out of its range.
    """

    modalities = frozenset({"image", "vector"})
    changes = "images"

    def __init__(
        self,
        rotation: NonNegative = 0.0,
        translation: Probability = 0.0,
        scale: tuple[Positive, Positive] = (1.0, 1.0),
        flip: Share = 0.0,
        brightness: Share = 0.0,
        contrast: Probability = 0.0,
        noise: Share = 0.0,
    ) -> None:
        for name, value in {"flip": flip, "brightness": brightness, "noise": noise}.items():
            if not 0 <= value <= 1:
                raise UserError(f"augmentation.{name} must be in [0, 1], not {value}")
        if not (0 <= translation < 1 and 0 <= contrast < 1 and rotation >= 0):
            raise UserError(
                f"augmentation.translation and contrast must be in [0, 1) and rotation at least 0, not {translation}, "
                f"{contrast} and {rotation}"
            )
        if not 0 < scale[0] <= scale[1]:
            raise UserError(f"augmentation.scale must be a range above 0, smallest first, not {list(scale)}")
        self.rotation, self.translation, self.scale = rotation, translation, tuple(scale)
        self.flip, self.brightness, self.contrast, self.noise = flip, brightness, contrast, noise
        self.moves = bool(rotation or translation or flip or self.scale != (1.0, 1.0))
        self.active = bool(self.moves or brightness or contrast or noise)

    def __call__(self, x: Tensor, draw: torch.Generator) -> Tensor:
        """Augment a batch.

        Args:
            x: images, ``(B, C, H, W)``, float in [0, 1].
            draw: CPU generator of all random numbers, which are the same on every device.

        Returns:
            Images of the same shape, in [0, 1].
        """
        if not self.active:
            return x
        if self.moves:
            grid = F.affine_grid(self._matrices(len(x), draw).to(x), list(x.shape), align_corners=False)
            x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if self.contrast:
            mean = x.mean((1, 2, 3), keepdim=True)
            x = mean + (x - mean) * (1 + self._uniform(len(x), self.contrast, draw).to(x).view(-1, 1, 1, 1))
        if self.brightness:
            x = x + self._uniform(len(x), self.brightness, draw).to(x).view(-1, 1, 1, 1)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=draw).to(x)
        return x.clamp(0, 1)

    def _matrices(self, count: int, draw: torch.Generator) -> Tensor:
        """Draw inverse affine maps in the normalised coordinates of ``affine_grid``, ``(count, 2, 3)``."""
        angle = self._uniform(count, math.radians(self.rotation), draw)
        low, high = (math.log(factor) for factor in self.scale)
        zoom = torch.exp(-(low + (high - low) * torch.rand(count, generator=draw)))
        mirror = 1 - 2 * (torch.rand(count, generator=draw) < self.flip).float()
        shift = self._uniform(2 * count, 2 * self.translation, draw).view(count, 2)
        cos, sin = zoom * angle.cos(), zoom * angle.sin()
        rows = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], dim=1)
        return rows.view(count, 2, 3)

    @staticmethod
    def _uniform(count: int, largest: float, draw: torch.Generator) -> Tensor:
        return (2 * torch.rand(count, generator=draw) - 1) * largest

    def __repr__(self) -> str:
        knobs = {name: value for name, value in vars(self).items() if name not in ("moves", "active") and value}
        return f"Augmentation({', '.join(f'{name}={value}' for name, value in knobs.items())})"
