"""The text fonts distributed with matplotlib, and the rendering of strings."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tl_lab.errors import UserError

__all__ = ["draw_text", "text_faces"]

_FACES = (
    *(f"DejaVu{family}{style}" for family in ("Sans", "SansMono") for style in ("", "-Bold", "-Oblique")),
    *(f"DejaVu{family}-BoldOblique" for family in ("Sans", "SansMono")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)


def text_faces() -> list[Path]:
    """List the fonts for running text: DejaVu Sans, Sans Mono and Serif, and STIX General, in four styles each.

    The mathematical fonts (Computer Modern, STIX sizes) and LastResort are excluded, because their code points show
    other characters.

    Returns:
        The sixteen font files, sorted by name.

    Raises:
        UserError: the installed matplotlib lacks one of the fonts.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    faces = [folder / f"{name}.ttf" for name in sorted(_FACES)]
    missing = [face.stem for face in faces if not face.is_file()]
    if missing:
        raise UserError(
            f"matplotlib {matplotlib.__version__} lacks the fonts {', '.join(missing)} in its font folder: "
            "reinstall it, or install a version that pyproject.toml allows"
        )
    return faces


def draw_text(text: str, face: Path, size: int) -> np.ndarray:
    """Draw a string in white on black, cropped to its bounding box.

    Args:
        text: string of one line.
        face: a TrueType font file (see :func:`text_faces`).
        size: size of the font's em square, in pixels.

    Returns:
        Coverage of each pixel, uint8 ``(height, width)``; ``(0, 0)`` if the string is blank.
    """
    font = _font(face, size)
    left, top, right, bottom = font.getbbox(text)
    # one pixel of margin, because antialiased edges may extend beyond the box that the font reports
    canvas = Image.new("L", (max(int(right - left), 0) + 2, max(int(bottom - top), 0) + 2))
    ImageDraw.Draw(canvas).text((1 - left, 1 - top), text, fill=255, font=font)
    box = canvas.getbbox()
    return np.zeros((0, 0), np.uint8) if box is None else np.asarray(canvas.crop(box))


@lru_cache(maxsize=64)
def _font(face: Path, size: int) -> ImageFont.FreeTypeFont:
    # the basic layout engine is always part of Pillow; the other one may be missing
    return ImageFont.truetype(str(face), size, layout_engine=ImageFont.Layout.BASIC)
