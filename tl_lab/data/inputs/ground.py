"""Background of drawings: bright strokes on dark or dark strokes on bright, and conversion to a common background."""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Ground", "bring_to", "common_ground", "grounds"]

Ground = Literal["dark", "bright"]

_NEAR = 0.25  # tolerance of background values, in [0, 1]
_SHARE = 0.6  # smallest share of a drawing's area that its background covers
_MOST = 0.95  # smallest share of images with the same background at which a set has a common background
_LOOKED_AT = 1000  # largest number of images examined, approximately


def grounds(images: Tensor) -> Tensor:
    """Classify the background of each image by the value of its border and by its area.

    Args:
        images: ``(B, C, H, W)``, uint8 in 0..255 or float in [0, 1].

    Returns:
        ``(B,)``: -1 for a dark background, 1 for a bright one, 0 if the image is not a drawing on an even background.
        A constant image is not a drawing.
    """
    grey = (images.float() / 255 if images.dtype == torch.uint8 else images.float()).mean(1)  # (B, H, W)
    edge = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1).median(1).values
    covered = ((grey - edge[:, None, None]).abs() <= _NEAR).float().mean((1, 2))
    even = (covered >= _SHARE) & (covered < 1)
    return torch.where(even & (edge <= _NEAR), -1, torch.where(even & (edge >= 1 - _NEAR), 1, 0))


def common_ground(images: Tensor) -> Ground | None:
    """Return the common background of grey drawings; None for other images, or if backgrounds differ.

    Args:
        images: ``(N, C, H, W)``; about 1,000 evenly spaced ones are examined.
    """
    if images.dim() != 4 or images.shape[1] != 1 or not len(images):
        return None
    found = grounds(images[:: max(1, len(images) // _LOOKED_AT)])
    for value, name in ((-1, "dark"), (1, "bright")):
        if float((found == value).float().mean()) >= _MOST:
            return name  # type: ignore[return-value]  # one of the two
    return None


def bring_to(images: Tensor, ground: Ground) -> tuple[Tensor, int]:
    """Invert the drawings that have the other background.

    Args:
        images: see :func:`grounds`.
        ground: the required background.

    Returns:
        The images, and the number of inverted ones.
    """
    other = grounds(images) == (1 if ground == "dark" else -1)
    if not bool(other.any()):
        return images, 0
    inverted = 255 - images if images.dtype == torch.uint8 else 1 - images
    return torch.where(other[:, None, None, None], inverted, images), int(other.sum())
