"""Images on disk, decoded when they are asked for."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tl_lab.data.cache import cached_arrays
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.errors import UserError

__all__ = ["IMAGE_TYPES", "ImageFiles", "decode", "keep_readable", "listed", "unreadable_images"]

IMAGE_TYPES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""The endings, in small letters, of files that count as images (those of torchvision's ImageFolder)."""

_LONG = 1000  # images from which on a progress bar is worth its lines
_TOLD = 5  # names given in a message before it says how many more there are
_T = TypeVar("_T")


class ImageFiles:
    """A list of image files that reads like a set of images (see :class:`~tl_lab.data.samples.LazyInputs`).

    Args:
        root: the folder that the names start from.
        names: of the files, relative to ``root``, with ``/`` between folders.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = Path(root), list(names)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, i: int, spec: ImageSpec) -> Tensor:
        """Decode one image and bring it to the backbone's size and channels.

        Args:
            i: its place in the list.
            spec: size, channels and the share that the central crop keeps.

        Returns:
            The image, uint8 ``(channels, *size)``.

        Raises:
            UserError: if the file cannot be read.
        """
        path = self.root / self.names[i]
        try:
            return decode(path, spec)
        except Exception as error:  # decoders raise whatever they like on damaged files
            raise UserError(
                f"the image {path} cannot be read ({_reason(error)}): remove or replace it, "
                "or set data.unreadable=skip to leave such files out"
            ) from error

    def load_all(self, spec: ImageSpec, workers: int = 0) -> Tensor:
        """Decode every image once into memory.

        Args:
            spec: as for :meth:`read`.
            workers: threads that decode beside each other; 0 or 1 for none.

        Returns:
            The images, uint8 ``(N, channels, *size)``.

        Raises:
            UserError: if a file cannot be read.
        """
        images = torch.empty(len(self), spec.channels, *spec.size, dtype=torch.uint8)

        def read(i: int) -> None:
            images[i] = self.read(i, spec)

        for _ in _each(read, range(len(self)), workers, f"decoding images of {self.root.name}"):
            pass
        return images

    def subset(self, index: Tensor) -> "ImageFiles":
        """Keep the images at ``index``, ``(M,)``, int64, in that order."""
        return ImageFiles(self.root, [self.names[i] for i in index.tolist()])

    def concatenate(self, parts: "Sequence[ImageFiles]") -> "ImageFiles":
        """Join lists of images, in order; names start from the folder that all have in common."""
        root = Path(os.path.commonpath([part.root for part in parts]))
        return ImageFiles(
            root, [(part.root / name).relative_to(root).as_posix() for part in parts for name in part.names]
        )

    def fingerprint(self) -> str:
        """Hash names and sizes of the files, not their content: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(f"{name}\0{_size_and_time(self.root / name)[0]}\0".encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"ImageFiles({str(self.root)!r}, {len(self)} images)"


def decode(path: Path, spec: ImageSpec) -> Tensor:
    """Decode an image file, resize it so that it covers the size, and cut the centre out.

    The central crop of ``size`` is taken from an image resized to ``size / crop_pct`` on its tighter side
    (bilinear, antialiased), as torchvision's Resize and CenterCrop do. Transparency is dropped; the camera's
    orientation tag is not applied.

    Args:
        path: of the file.
        spec: size, channels (1: grey, 3: RGB) and crop_pct.

    Returns:
        The image, uint8 ``(channels, *size)``.
    """
    _require_regular(path)
    with Image.open(path) as image:
        pixels = _eight_bits(image).convert("L" if spec.channels == 1 else "RGB")
    height, width = spec.size
    factor = max(int(width / spec.crop_pct) / pixels.width, int(height / spec.crop_pct) / pixels.height)
    across, down = (
        max(int(side * factor + 1e-6), least) for side, least in ((pixels.width, width), (pixels.height, height))
    )
    if (across, down) != pixels.size:
        pixels = pixels.resize((across, down), Image.Resampling.BILINEAR)
    left, top = round((across - width) / 2), round((down - height) / 2)
    array = np.array(pixels.crop((left, top, left + width, top + height)))
    # (H, W) or (H, W, 3) -> (C, H, W)
    return torch.from_numpy(array).view(height, width, -1).permute(2, 0, 1).contiguous()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring images of 16 bits a pixel to 8: Pillow's own conversion would cut all values above 255 off."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def unreadable_images(files: ImageFiles, workers: int = 0, cache: Path | None = None) -> dict[int, str]:
    """Find the files that cannot be decoded; each version of a list of files is looked at once.

    Args:
        files: the images.
        workers: threads that decode beside each other.
        cache: folder that keeps the outcome; None for the usual one.

    Returns:
        The reason for each such file, by its place in the list.
    """

    def look() -> dict[str, np.ndarray]:
        paths = [files.root / name for name in files.names]
        reasons = list(_each(_fault, paths, workers, f"checking images of {files.root.name}"))
        bad = [i for i, reason in enumerate(reasons) if reason]
        return {"places": np.array(bad, dtype=np.int64), "reasons": np.array([reasons[i] for i in bad], dtype=np.str_)}

    versions = [(name, *_size_and_time(files.root / name)) for name in files.names]
    seen = hashlib.sha256(str(versions).encode())
    key = {"version": 1, "root": str(files.root.resolve()), "files": seen.hexdigest()}
    found = cached_arrays("unreadable", key, look, cache)
    return dict(zip(found["places"].tolist(), found["reasons"].tolist(), strict=True))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # a link that leads nowhere
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def _require_regular(path: Path) -> None:
    """Refuse a pipe or a device, which would be read without end; a missing file is the decoder's to name."""
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")


def _fault(path: Path) -> str:
    """Say why a file cannot be decoded; empty if it can."""
    try:
        _require_regular(path)
        with Image.open(path) as image:
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))  # JPEG: all data, few pixels
            image.load()
    except Exception as error:
        return _reason(error)
    return ""


def keep_readable(
    files: ImageFiles, labels: Tensor | None, unreadable: str, workers: int = 0, cache: Path | None = None
) -> tuple[ImageFiles, Tensor | None, str]:
    """Leave unreadable images out, or stop at them.

    Args:
        files: the images.
        labels: their classes, ``(N,)``; None where there are none.
        unreadable: ``stop`` or ``skip``.
        workers: threads that decode beside each other.
        cache: see :func:`unreadable_images`.

    Returns:
        The readable images, their classes, and what was left out, in words (empty if nothing).

    Raises:
        UserError: if the option is neither, or images cannot be read and it is ``stop``.
    """
    if unreadable not in ("stop", "skip"):
        raise UserError(f"data.unreadable is 'stop' or 'skip', not {unreadable!r}")
    bad = unreadable_images(files, workers, cache)
    if not bad:
        return files, labels, ""
    told = f"{len(bad)} of {len(files)} images in {files.root} cannot be read: " + listed(
        f"{files.names[i]} ({reason})" for i, reason in bad.items()
    )
    if unreadable == "stop":
        raise UserError(f"{told}; remove or replace them, or set data.unreadable=skip to leave them out")
    good = torch.tensor([i for i in range(len(files)) if i not in bad], dtype=torch.int64)
    return files.subset(good), None if labels is None else labels[good], f"left out: {told}"


def listed(names: Iterator[str] | Sequence[str], limit: int = _TOLD) -> str:
    """Join names by commas; after the first few, say how many more there are."""
    every = list(names)
    more = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {more} more" if more > 0 else "")


def _reason(error: Exception) -> str:
    text = str(error).split("\n")[0].strip()
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image"
    return text or type(error).__name__


def _each(work: Callable[..., _T], items: Sequence, workers: int, title: str) -> Iterator[_T]:
    """Do the work for each item, in order, with threads (Pillow decodes outside the interpreter's lock)."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            results = pool.map(work, items) if workers > 1 else map(work, items)
            if len(items) >= _LONG and sys.stderr.isatty():
                from rich.console import Console
                from rich.progress import track

                results = iter(track(results, title, total=len(items), console=Console(stderr=True), transient=True))
            yield from results
        finally:
            pool.shutdown(cancel_futures=True)
