"""Digits printed in matplotlib's fonts, and scikit-learn's handwritten digits."""

import functools
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tl_lab.data.sets.fonts import draw_text, text_faces
from tl_lab.errors import UserError
from tl_lab.randomness import derive_seed

__all__ = ["handwritten_digits", "render_printed_digits"]

_BLOCK = 4  # a pixel is the number of inked pixels in a block of 4 x 4, as in the handwritten set
_MASTER = 192  # em size at which each digit is drawn once; much finer than the bitmaps sampled from it
_CHUNK = 2000  # number of images sampled at once, to limit memory


def render_printed_digits(
    count: int,
    seed: int,
    size: int = 8,
    height: tuple[float, float] = (0.6, 1.0),
    rotation: float = 15.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Print the digits 0 to 9 in sixteen text fonts at random size, rotation and position.

    They are digitised like the handwritten digits: the digit is drawn as a binary bitmap four times finer than the
    image (32 x 32 by default), the inked pixels in each block of 4 x 4 are counted, and the counts 0 to 16 are scaled
    to 0 to 255. Strokes are bright on a dark background.

    Args:
        count: total number of images; combinations of class and font are balanced as evenly as the count permits.
        seed: seed that determines every image.
        size: side of the square images, in pixels.
        height: smallest and largest height of a digit relative to the side, drawn uniformly, in (0, 1].
        rotation: largest angle in either direction, in degrees, drawn uniformly.

    Returns:
        Images uint8 ``(count, 1, size, size)``, classes int64 ``(count,)``, and the font of each image as position in
        :func:`~tl_lab.data.sets.fonts.text_faces`, int64 ``(count,)``.

    Raises:
        UserError: an argument is out of range.

    References:
        E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository,
        1998. https://doi.org/10.24432/C50P49
    """
    if count < 1 or size < 2:
        raise UserError(f"printed digits require a count of at least 1 and a size of at least 2, not {count}, {size}")
    if not 0 < height[0] <= height[1] <= 1:
        raise UserError(f"the height of printed digits must be a range within (0, 1], not {tuple(height)}")
    if not 0 <= rotation <= 180:
        raise UserError(f"the rotation of printed digits must be an angle from 0 to 180 degrees, not {rotation}")
    masters, extent = _masters()
    rng = np.random.default_rng(derive_seed(seed, "printed_digits"))
    place = torch.from_numpy(rng.permutation(count))
    label, face = place % 10, place // 10 % len(masters)
    scale, turn, across, down = torch.from_numpy(rng.random((4, count), dtype=np.float32))
    scale = height[0] + (height[1] - height[0]) * scale
    angle = math.radians(rotation) * (2 * turn - 1)
    inverse = _inverse_placement(extent[face, label], scale, angle, 2 * across - 1, 2 * down - 1)
    images = [_count_ink(masters[face[i], label[i]], inverse[i], size) for i in torch.arange(count).split(_CHUNK)]
    return torch.cat(images), label, face


def handwritten_digits() -> tuple[Tensor, Tensor]:
    """Load the 1,797 handwritten digits of scikit-learn, each of which has 8 x 8 counts from 0 to 16.

    Returns:
        Images uint8 ``(1797, 1, 8, 8)``, with counts scaled to 0 to 255, and classes int64 ``(1797,)``.

    References:
        E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository,
        1998. https://doi.org/10.24432/C50P49
    """
    table = _handwritten_table()
    counts = torch.from_numpy(table[:, :-1]).float().view(-1, 1, 8, 8)
    return _bytes(counts), torch.from_numpy(table[:, -1]).long()


def _handwritten_table() -> np.ndarray:
    """Read 64 counts and the class of each digit from scikit-learn's file; importing the package would take longer."""
    spec = find_spec("sklearn")
    for place in (spec and spec.submodule_search_locations) or ():
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])


def _bytes(counts: Tensor) -> Tensor:
    """Scale counts of inked pixels from 0..16 to 0..255."""
    return (counts * 255 / _BLOCK**2).round().to(torch.uint8)


@functools.cache
def _masters() -> tuple[Tensor, Tensor]:
    """Draw every digit in every font once, centred in a square.

    Returns:
        Coverage, float ``(F, 10, side, side)`` in [0, 1] for F fonts; and the width and height of each digit as a share
        of the side, ``(F, 10, 2)``.
    """
    drawn = [[draw_text(str(digit), face, _MASTER) for digit in range(10)] for face in text_faces()]
    side = 2 + max(max(ink.shape) for row in drawn for ink in row)
    masters = torch.zeros(len(drawn), 10, side, side)
    extent = torch.zeros(len(drawn), 10, 2)
    for i, row in enumerate(drawn):
        for digit, ink in enumerate(row):
            h, w = ink.shape
            top, left = (side - h) // 2, (side - w) // 2
            masters[i, digit, top : top + h, left : left + w] = torch.from_numpy(ink.copy()).float() / 255
            extent[i, digit] = torch.tensor([w / side, h / side])
    return masters, extent


def _inverse_placement(extent: Tensor, scale: Tensor, angle: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Return the maps from points of the image to points of the master drawing; both span [-1, 1].

    The digit is scaled to its height, rotated, and moved such that its rotated bounding box is within the image; a box
    that is larger than the image is centred.

    Args:
        extent: half width and half height of the digit in the master drawing, ``(N, 2)``.
        scale: height of the upright digit as a share of the image, ``(N,)``.
        angle: angles in radians, ``(N,)``.
        across: horizontal position of the digit within the free space, ``(N,)``, in [-1, 1].
        down: vertical position of the digit within the free space, ``(N,)``, in [-1, 1].

    Returns:
        Affine maps, ``(N, 2, 3)``, in the format of ``affine_grid``.
    """
    cos, sin = angle.cos(), angle.sin()
    half_h = scale
    half_w = scale * extent[:, 0] / extent[:, 1]
    x = across * (1 - half_w * cos.abs() - half_h * sin.abs()).clamp_min(0)
    y = down * (1 - half_w * sin.abs() - half_h * cos.abs()).clamp_min(0)
    zoom = extent[:, 1] / scale  # from lengths in the image to lengths in the master
    rows = torch.stack([zoom * cos, zoom * sin, -zoom * sin, zoom * cos], 1).view(-1, 2, 2)
    shift = -(rows @ torch.stack([x, y], 1).unsqueeze(2))
    return torch.cat([rows, shift], 2)


def _count_ink(masters: Tensor, inverse: Tensor, size: int) -> Tensor:
    """Sample bitmaps from masters ``(N, side, side)``, and count the ink in each block, ``(N, 1, size, size)``."""
    fine = size * _BLOCK
    grid = F.affine_grid(inverse, [len(inverse), 1, fine, fine], align_corners=False)
    bitmap = F.grid_sample(masters.unsqueeze(1), grid, mode="nearest", align_corners=False) > 0.5
    return _bytes(F.avg_pool2d(bitmap.float(), _BLOCK) * _BLOCK**2)
