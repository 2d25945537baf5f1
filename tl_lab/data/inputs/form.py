"""Size of drawings within their images and width of their strokes, and conversion to those of the training set."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.ground import Ground, grounds

__all__ = ["Sizes", "bring_to_form", "form_of", "sizes_of"]

_INK = 0.25  # smallest difference from the background, in [0, 1], at which a pixel counts as drawn
_RANGE = (0.01, 0.5, 0.99)  # quantiles of a set: lowest usual size, median, highest usual size
_MARGIN = 0.1  # tolerance beyond the usual range, relative to its ends
_LOOKED_AT = 1000  # largest number of images measured, approximately
_STEPS, _ROUNDS = 10, 3  # intermediate steps per pixel, and largest change of the strokes in pixels to either side


class Sizes(NamedTuple):
    """Sizes of drawings.

    Attributes:
        box: longer side of the drawing's bounding box, as a share of the image's longer side, ``(B,)``.
        stroke: mean width of the strokes, as a share of the longer side of the bounding box, ``(B,)``.
    """

    box: Tensor
    stroke: Tensor


def sizes_of(images: Tensor) -> Sizes:
    """Measure drawings; an image without a drawing gives NaN.

    The width of the strokes is twice their area divided by the length of their outline, which is exact for a long bar.

    Args:
        images: ``(B, C, H, W)``, uint8 in 0..255 or float in [0, 1].
    """
    ink = _ink(images)  # (B, H, W)
    there = ink > _INK
    side = torch.maximum(_extent(there.any(2)), _extent(there.any(1)))
    around = F.pad(ink, (1, 1, 1, 1))
    down, across = around[:, 1:, :-1] - around[:, :-1, :-1], around[:, :-1, 1:] - around[:, :-1, :-1]
    outline = (down.square() + across.square()).sqrt().sum((1, 2))
    stroke = 2 * ink.sum((1, 2)) / outline / side
    empty = ~there.any(2).any(1)
    box = side / max(ink.shape[1:])
    return Sizes(box.masked_fill(empty, torch.nan), stroke.masked_fill(empty, torch.nan))


def form_of(images: Tensor) -> dict[str, list[float]]:
    """Return the usual range of sizes of a set of drawings: the 1st, 50th and 99th percentile, as plain values.

    Args:
        images: drawings on the same background, ``(N, C, H, W)``; about 1,000 evenly spaced ones are measured.

    Returns:
        The percentiles of ``box`` and ``stroke`` (see :class:`Sizes`); empty if nothing is drawn.
    """
    found = sizes_of(images[:: max(1, len(images) // _LOOKED_AT)])
    known = {name: values[values.isfinite()] for name, values in found._asdict().items()}
    shares = torch.tensor(_RANGE)
    return {name: values.quantile(shares).tolist() for name, values in known.items() if len(values)}


def bring_to_form(
    images: Tensor, ground: Ground, form: Mapping[str, Sequence[float]]
) -> tuple[Tensor, dict[str, tuple[float, float]]]:
    """Scale drawings, or change the width of their strokes, if the median of the batch is outside of the usual range.

    Args:
        images: ``(B, C, H, W)`` in [0, 1]; images that are not drawings on this background are not changed.
        ground: background of the drawings.
        form: the usual range, as returned by :func:`form_of`.

    Returns:
        The images, and for each changed size (``box``, ``stroke``) the median before and the usual median.
    """
    drawn = grounds(images) == (-1 if ground == "dark" else 1)
    if not bool(drawn.any()) or not form:
        return images, {}
    brought, changed = images.clone(), {}
    for name, change in (("box", _scaled), ("stroke", _stroked)):
        if name not in form:
            continue
        low, usual, high = form[name]
        now = float(getattr(sizes_of(brought[drawn]), name).nanmedian())
        if now < low * (1 - _MARGIN) or now > high * (1 + _MARGIN):
            brought[drawn] = change(brought[drawn], ground, usual)
            changed[name] = (now, usual)
    return (brought, changed) if changed else (images, {})


def _ground_values(grey: Tensor) -> Tensor:
    """Return the median value of each image's border, ``(B, H, W) -> (B,)``."""
    return torch.cat([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1).median(1).values


def _ink(images: Tensor) -> Tensor:
    """Return the difference of each pixel from the background, ``(B, H, W)`` in [0, 1]."""
    grey = (images.float() / 255 if images.dtype == torch.uint8 else images.float()).mean(1)
    return (grey - _ground_values(grey)[:, None, None]).abs()


def _extent(there: Tensor) -> Tensor:
    """Return the distance from the first to the last true position, both included, ``(B, L) -> (B,)``."""
    places = torch.arange(1, there.shape[1] + 1, dtype=torch.float32)
    last = (there * places).amax(1)
    first = torch.where(there, places, there.shape[1] + 1.0).amin(1)
    return (last - first + 1).clamp(min=0)


def _scaled(images: Tensor, ground: Ground, usual: float) -> Tensor:
    """Scale each drawing about the centre of its bounding box to the usual size, as far as the image allows."""
    there, values = _ink(images) > _INK, _ground_values(images.mean(1))
    height, width = images.shape[-2:]
    scaled = []
    for image, drawn, value in zip(images, there, values.tolist(), strict=True):
        if not bool(drawn.any()):
            scaled.append(image)
            continue
        rows, columns = drawn.any(1).nonzero()[:, 0], drawn.any(0).nonzero()[:, 0]
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        factor = usual * max(height, width) / max(bottom - top, right - left)
        h, w = (max(1, min(most, round(factor * n))) for n, most in ((bottom - top, height), (right - left, width)))
        part = F.interpolate(
            image[None, :, top:bottom, left:right], (h, w), mode="bilinear", antialias=True, align_corners=False
        )[0]
        y = max(0, min(height - h, round((top + bottom - h) / 2)))
        x = max(0, min(width - w, round((left + right - w) / 2)))
        empty = torch.full_like(image, value)
        empty[:, y : y + h, x : x + w] = part.clamp(0, 1)
        scaled.append(empty)
    return torch.stack(scaled)


def _stroked(images: Tensor, ground: Ground, usual: float) -> Tensor:
    """Thicken or thin the strokes of each image to the nearest available width.

    Candidates are the image dilated or eroded by 1, 2 ... pixels, and mixtures of successive ones.
    """
    thick = float(sizes_of(images).stroke.nanmedian()) > usual
    darker = (ground == "dark") == thick  # whether a pixel becomes the minimum of its neighbourhood
    candidates, now = [images], images
    for _ in range(_ROUNDS):
        moved = -F.max_pool2d(-now, 3, 1, 1) if darker else F.max_pool2d(now, 3, 1, 1)
        candidates += [now + step / _STEPS * (moved - now) for step in range(1, _STEPS + 1)]
        now = moved
    away = torch.stack([(sizes_of(one).stroke - usual).abs().nan_to_num(torch.inf) for one in candidates])  # (K, B)
    best = away.argmin(0)
    return torch.stack(candidates)[best, torch.arange(len(images))]
