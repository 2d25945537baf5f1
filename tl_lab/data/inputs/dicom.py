"""Read medical images from DICOM files, with their display window."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["DICOM_TYPES", "WINDOW", "open_dicom"]

DICOM_TYPES = frozenset({".dcm", ".dicom"})
"""File name extensions, in lower case, of DICOM files."""
WINDOW = "window"
"""Key of the values displayed as black and white in the ``info`` of an opened image."""


def open_dicom(path: Path) -> Image.Image:
    """Read the first frame of a grey DICOM image, in the units of its modality (for CT, Hounsfield units).

    The display window is the first one in the file. With centre c and width w, it extends from c - .5 - (w - 1) / 2 to
    c - .5 + (w - 1) / 2, as the standard defines. In a file without a window, it extends from the smallest to the
    largest value. For MONOCHROME1, its lower end is white.

    Args:
        path: path of the file.

    Returns:
        A Pillow image of floats whose ``info`` contains the window.

    Raises:
        OSError: the library pydicom is not installed, or the file is not a grey image.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut
    except ImportError as error:
        raise OSError("a DICOM file needs the library pydicom: install tl_lab[medical]") from error
    data: Any = pydicom.dcmread(path)
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise OSError("a DICOM file in colour; only grey images are supported")
    values = np.asarray(apply_modality_lut(data.pixel_array, data), dtype=np.float32)
    values = values[0] if values.ndim == 3 else values
    image = Image.fromarray(values)
    low, high = _window(data, values)
    image.info[WINDOW] = (high, low) if data.get("PhotometricInterpretation") == "MONOCHROME1" else (low, high)
    return image


def _window(data: Any, values: np.ndarray) -> tuple[float, float]:
    centre, width = (_first(data.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 1:
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    low, high = float(values.min()), float(values.max())
    return low, high if high > low else low + 1


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)
