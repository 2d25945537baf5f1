"""Drawings: whether strokes are bright on dark or dark on bright, and bringing them to one form."""

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Ground", "bring_to", "common_ground", "grounds"]

Ground = Literal["dark", "bright"]

_NEAR = 0.25  # of the range of values: what counts as the ground
_SHARE = 0.6  # of an image that its ground covers at least, in a drawing
_MOST = 0.95  # of a set's images that have the same ground
_LOOKED_AT = 1000


def grounds(images: Tensor) -> Tensor:
    """Tell the ground of each image by its border and by how much of it looks the same.

    Args:
        images: ``(B, C, H, W)``, uint8 in 0..255 or float in [0, 1].

    Returns:
        ``(B,)``: -1 for a dark ground, 1 for a bright one, 0 where the image is no drawing on an even ground.
    """
    grey = (images.float() / 255 if images.dtype == torch.uint8 else images.float()).mean(1)  # (B, H, W)
    edge = torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1).median(1).values
    covered = ((grey - edge[:, None, None]).abs() <= _NEAR).float().mean((1, 2))
    even = (covered >= _SHARE) & (covered < 1)  # an image of one value shows nothing
    return torch.where(even & (edge <= _NEAR), -1, torch.where(even & (edge >= 1 - _NEAR), 1, 0))


def common_ground(images: Tensor) -> Ground | None:
    """Name the ground that grey drawings have in common; None for other images, or where they differ.

    Args:
        images: ``(N, C, H, W)``; at most the first 1,000 evenly spaced ones are looked at.
    """
    if images.dim() != 4 or images.shape[1] != 1 or not len(images):
        return None
    found = grounds(images[:: max(1, len(images) // _LOOKED_AT)])
    for value, name in ((-1, "dark"), (1, "bright")):
        if float((found == value).float().mean()) >= _MOST:
            return name  # type: ignore[return-value]  # one of the two
    return None


def bring_to(images: Tensor, ground: Ground) -> tuple[Tensor, int]:
    """Invert those drawings that have the other ground.

    Args:
        images: as for :func:`grounds`.
        ground: wanted.

    Returns:
        The images, and how many of them were inverted.
    """
    other = grounds(images) == (1 if ground == "dark" else -1)
    if not bool(other.any()):
        return images, 0
    inverted = 255 - images if images.dtype == torch.uint8 else 1 - images
    return torch.where(other[:, None, None, None], inverted, images), int(other.sum())
