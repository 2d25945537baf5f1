"""Check pixel arrays given by users."""

import torch
from torch import Tensor

from tl_lab.errors import UserError

__all__ = ["check_pixels", "pixel_values"]

_OVER = 1e-3  # tolerance for floats that were resized or rounded


def check_pixels(x: Tensor) -> Tensor:
    """Check that a batch of images consists of bytes, integers in 0..255, or floats in [0, 1].

    Args:
        x: images, ``(B, C, H, W)``, of any numeric type.

    Returns:
        The images, uint8 or floating point.

    Raises:
        UserError: values are out of range or not finite.
    """
    if x.dtype == torch.uint8 or x.numel() == 0:
        return x
    whole = not x.is_floating_point()
    if whole:
        x = x.long()  # torch cannot compute the minimum of unsigned integers of 16, 32 and 64 bits
    low, high = x.min().item(), x.max().item()
    most = 255 if whole else 1
    if not (low >= -_OVER and high <= most + _OVER):  # also true for NaN
        kind = "integers in 0..255" if whole else "floats in 0..1"
        raise UserError(f"images must be {kind}, not {low:g} to {high:g}: scale them like the training images")
    return x.to(torch.uint8) if whole else x


def pixel_values(x: Tensor, origin: str, first: int = 0) -> Tensor:
    """Scale pixel values of a table to [0, 1].

    Args:
        x: pixels, ``(B, C, H, W)``, float, in 0..255.
        origin: description of the table, for the message.
        first: number of the first of these rows, counted from 0.

    Raises:
        UserError: a value is outside 0..255.
    """
    outside = ~((x >= 0) & (x <= 255)).flatten(1).all(1)
    if bool(outside.any()):
        row = int(outside.nonzero()[0, 0])
        worst = x[row].flatten()[(x[row].flatten() - 127.5).abs().argmax()]
        raise UserError(f"{origin} has the value {worst:g} in row {first + row + 1}: pixel values must be in 0..255")
    return x / 255
