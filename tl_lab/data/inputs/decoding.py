"""Decode image files as they would be displayed; training, predictions and published sets share this decoder."""

import functools
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from tl_lab.data.inputs.dicom import DICOM_TYPES, WINDOW, open_dicom
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.levels import WINDOWED, Depth, Levels

__all__ = ["IMAGE_TYPES", "decode", "depth_of", "open_image", "picture", "reason", "require_regular", "to_eight_bits"]

IMAGE_TYPES = frozenset(
    {
        ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm",
        ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
"""File name extensions, in lower case, of image files."""

# formats that Pillow decodes itself; for others it would call programs such as Ghostscript
_FORMATS = ("JPEG", "PNG", "MPO", "TIFF", "WEBP", "GIF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000")
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE = 250  # in 0..255: values from here on are invisible on white
_WHITE_IS_ZERO, _PHOTOMETRIC, _SAMPLE_FORMAT, _BITS = 0, 262, 339, 258  # value of the photometric tag; TIFF tags
_AT_ONCE = 2**20  # number of values scaled at a time
_MOST_ENLARGED = 16  # a whole image is resized only if the result has at most this multiple of the cropped pixels


def picture(
    source: Path | BinaryIO | Image.Image, mode: Literal["L", "RGB"], levels: Levels | None = None
) -> Image.Image:
    """Decode an image as it would be displayed.

    The camera's orientation tag is applied. Of an animation or a file with several pages, the first image is used.
    Transparent regions become white, or black if everything visible is white. Values of more than 8 bits are scaled to
    8 bits by ``levels``. Colour profiles are not applied, except that CIELAB is converted to sRGB.

    Args:
        source: a file, its open content, or a Pillow image.
        mode: ``L`` (grey) or ``RGB``.
        levels: values displayed as black and white, for images of more than 8 bits; None to derive them from
            the image itself.

    Returns:
        The image in that mode.

    Raises:
        OSError: the file is not an image, or is damaged.
        ValueError: its values cannot be interpreted as an image.
    """
    opened = nullcontext(source) if isinstance(source, Image.Image) else open_image(source)
    with opened as image:
        image.load()
        depth = depth_of(image)
        eight_bits = image if depth is None else _scaled(image, depth, levels or Levels())
        seen = to_eight_bits(eight_bits, mode)
        turn = _TURNED.get(_orientation(image))
    return seen if turn is None else seen.transpose(turn)


def open_image(source: Path | BinaryIO) -> Image.Image:
    """Open an image of a supported format without reading its pixels.

    Raises:
        OSError: the file is not an image or not regular, or has more pixels than Pillow's limit.
    """
    if isinstance(source, Path):
        require_regular(source)
        if source.suffix.lower() in DICOM_TYPES:
            return open_dicom(source)
    try:
        return Image.open(source, formats=_formats())
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise OSError(f"more than {most:,} pixels, the limit of decoding") from error


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()  # loads all plug-ins; older versions of Pillow have fewer
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def require_regular(path: Path) -> None:
    """Reject a pipe or a device, which might be read forever; missing files are reported by the decoder.

    Raises:
        OSError: the path exists and is not a regular file.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata of an otherwise valid image
        return 1


def to_eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """Convert a loaded image of at most 8 bits per value to a mode; transparent regions become white, or black.

    Raises:
        ValueError: Pillow cannot convert its mode.
    """
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        assert converted is not None
        return converted.convert(mode)
    if not image.has_transparency_data:
        return image.convert(mode)
    layers = image.convert("RGBA")
    alpha = np.asarray(layers.getchannel("A"))
    if int(alpha.min(initial=255)) == 255:
        return layers.convert(mode)
    visible = np.asarray(layers.convert("L"))[alpha > 0]
    hidden = visible.size > 0 and int(visible.min()) >= _WHITE
    ground = Image.new("RGBA", layers.size, (0, 0, 0, 255) if hidden else (255, 255, 255, 255))
    return Image.alpha_composite(ground, layers).convert(mode)


# ---------------------------------------------------------------------- more than 8 bits per value


def depth_of(image: Image.Image) -> Depth | None:
    """Return the kind and range of values of a loaded image with more than 8 bits per value; None for other images.

    Raises:
        ValueError: the image contains NaN or infinity.
    """
    if WINDOW in image.info:
        return Depth(WINDOWED, *image.info[WINDOW])
    if not image.mode.startswith("I") and image.mode != "F":
        return None
    values = _values(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("contains NaN or infinity")
    if image.mode == "F":
        return Depth("float", low, high)
    if image.format == "PPM":  # Pillow scales the file's own range to 16 bits
        return Depth("16-bit", 0.0, 65535.0)
    if image.mode.startswith("I;16") or image.format == "PNG":
        bits = _tag(image, _BITS)
        return Depth("16-bit", low, 2.0**bits - 1 if bits == 12 else high)
    return Depth("32-bit", low, high)


def _values(image: Image.Image) -> np.ndarray:
    values = np.asarray(image)
    unsigned = image.mode == "I" and _tag(image, _BITS) == 32 and _tag(image, _SAMPLE_FORMAT) in (None, 1)
    return values.view(np.uint32) if unsigned else values


def _tag(image: Image.Image, number: int) -> int | None:
    """Return the number in a TIFF tag; None if it is absent."""
    value = getattr(image, "tag_v2", {}).get(number)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else None


def _scaled(image: Image.Image, depth: Depth, levels: Levels) -> Image.Image:
    """Scale values from the range between black and white to 0..255, and round to the nearest integer."""
    values, (black, white) = _values(image), levels.range_of(depth)
    if not levels.chosen and _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:
        black, white = white, black
    grey = np.empty(values.shape, np.uint8)
    rows = max(1, _AT_ONCE // max(1, values.shape[1]))
    for top in range(0, len(values), rows):
        part = (values[top : top + rows].astype(np.float64) - black) * (255 / (white - black))
        grey[top : top + rows] = np.rint(part.clip(0, 255))
    return Image.fromarray(grey)


# ---------------------------------------------------------------------- one size


def decode(path: Path | BinaryIO | Image.Image, spec: ImageSpec, levels: Levels | None = None) -> Tensor:
    """Decode an image file, resize it to cover the size, and crop the centre.

    The image is resized (bilinear, antialiased) such that its tighter side is ``size / crop_pct``, and its centre of
    ``size`` is cropped, as torchvision's Resize and CenterCrop do.

    Args:
        path: path of the file, or its open content, or a Pillow image.
        spec: size, channels (1: grey, 3: RGB) and crop_pct.
        levels: see :func:`picture`.

    Returns:
        The image, uint8 ``(channels, *size)``.
    """
    pixels = picture(path, "L" if spec.channels == 1 else "RGB", levels)
    height, width = spec.size
    factor = max(int(width / spec.crop_pct) / pixels.width, int(height / spec.crop_pct) / pixels.height)
    across, down = (
        max(int(side * factor + 1e-6), least) for side, least in ((pixels.width, width), (pixels.height, height))
    )
    left, top = round((across - width) / 2), round((down - height) / 2)
    if across * down > _MOST_ENLARGED * width * height:  # a long strip: only the remaining part is resized
        x, y = pixels.width / across, pixels.height / down
        box = (left * x, top * y, min((left + width) * x, pixels.width), min((top + height) * y, pixels.height))
        kept = pixels.resize((width, height), Image.Resampling.BILINEAR, box)
    else:
        if (across, down) != pixels.size:
            pixels = pixels.resize((across, down), Image.Resampling.BILINEAR)
        kept = pixels.crop((left, top, left + width, top + height))
    # (H, W) or (H, W, 3) -> (C, H, W)
    return torch.from_numpy(np.array(kept)).view(height, width, -1).permute(2, 0, 1).contiguous()


def reason(error: Exception) -> str:
    """Return a short reason why an image cannot be decoded."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return str(error).split("\n")[0].strip() or type(error).__name__
