"""CIFAR-10: 32 x 32 colour photographs of ten classes."""

import io
import lzma
import tarfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.decoding import picture
from tl_lab.data.roots import missing
from tl_lab.data.samples import Samples
from tl_lab.data.sets.published import PublishedSet, read_published
from tl_lab.errors import UserError

__all__ = ["Cifar10", "read_jpeg_archive"]

_OFFICIAL, _JPEG = "cifar-10-batches-py", "cifar10_jpg.tar.xz"
_PARTS = ("train", "test")


class Cifar10(PublishedSet):
    """Photographs: 50,000 for training and 10,000 for test, ``(3, 32, 32)``, ten classes.

    The official files are read by torchvision, which checks their hashes. Decoded images of a JPEG copy (with slightly
    different pixels) are cached. ``notes`` report which of the two was read.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        files: ``official`` (folder ``cifar-10-batches-py``), ``jpeg`` (``cifar10_jpg.tar.xz`` with
            ``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg``), or ``auto``: the official files if they exist.
        download: whether to download the official files if they are missing.
        options: keyword arguments of :class:`~tl_lab.data.sets.published.PublishedSet`.

    References:
        A. Krizhevsky: Learning Multiple Layers of Features from Tiny Images. Technical report, University of
        Toronto, 2009. https://www.cs.toronto.edu/~kriz/cifar.html
    """

    title = "CIFAR-10"
    how_to_get = f"set data.download=true once, or put {_OFFICIAL}/ or {_JPEG} there"
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    def __init__(
        self,
        *,
        root: str | None = None,
        files: Literal["auto", "official", "jpeg"] = "auto",
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(root=root, download=download, **options)
        if files not in ("auto", "official", "jpeg"):
            raise UserError(f"data.files must be 'auto', 'official' or 'jpeg', not {files!r}")
        if files == "jpeg" and download:
            raise UserError("data.download=true downloads only the official files: set data.files=auto or official")
        self.files = files

    def read(self) -> dict[str, Samples]:
        """Read both parts, and hold out the validation set from the training part."""
        self._read_files = ""
        sets = super().read()
        self.notes.append(f"CIFAR-10 read from {self._read_files}")
        return sets

    def read_part(self, root: Path, train: bool) -> tuple[Tensor, Tensor]:
        """Read one part from the official files or from the JPEG archive."""
        jpeg = self.files == "jpeg" or (self.files == "auto" and not self.download and not (root / _OFFICIAL).exists())
        self._read_files = _JPEG if jpeg else _OFFICIAL
        if jpeg:
            if not (root / _JPEG).exists():
                place = root if self.files == "auto" else root / _JPEG
                raise missing(f"CIFAR-10 ({_OFFICIAL}/ or {_JPEG})", place, self.how_to_get)
            return read_jpeg_archive(root / _JPEG, "train" if train else "test", self.names)
        from torchvision.datasets import CIFAR10

        return read_published(CIFAR10, root, train, self.download, _OFFICIAL, self.title, self.how_to_get)


def read_jpeg_archive(
    path: Path, part: str, class_names: tuple[str, ...], cache: Path | None = None
) -> tuple[Tensor, Tensor]:
    """Read the images ``part/CLASS/*.jpg`` of an archive; decoded images are cached.

    Args:
        path: path of a ``.tar.xz`` archive.
        part: top folder within the archive, such as ``train``.
        class_names: names of the class folders in the order of the labels.
        cache: folder of the cache; None for the default.

    Returns:
        Images uint8 ``(N, 3, H, W)``, sorted by class and file name, and classes int64 ``(N,)``.

    Raises:
        UserError: the archive is damaged or has no such images.
    """
    title, key = path.name.split(".")[0], {"version": 1, "archive": file_hash(path), "classes": class_names}

    def kept(of: str, decoded: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return cached_arrays(f"{title}-{of}", {**key, "part": of}, decoded, cache)

    def decoded() -> dict[str, np.ndarray]:
        parts = _decode_archive(path, class_names)  # one pass serves both parts
        if part not in parts:
            raise UserError(f"the archive {path} has no images {part}/CLASS/* of the classes {', '.join(class_names)}")
        for other in parts.keys() - {part}:
            kept(other, lambda arrays=parts[other]: arrays)  # type: ignore[misc]
        return parts[part]

    arrays = kept(part, decoded)
    return torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])


def _decode_archive(path: Path, class_names: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """Decode the images of each part."""
    images: dict[str, dict[tuple[int, str], np.ndarray]] = defaultdict(dict)
    try:
        # lzma.open detects a truncated file; tarfile's own decompression does not
        with lzma.open(path) as content, tarfile.open(fileobj=content, mode="r|") as archive:
            for member in archive:
                folders = Path(member.name).parts[-3:]
                if not member.isfile() or len(folders) < 3 or folders[0] not in _PARTS or folders[1] not in class_names:
                    continue
                content_of = io.BytesIO(archive.extractfile(member).read())  # type: ignore[union-attr]
                place = class_names.index(folders[1]), folders[2]
                images[folders[0]][place] = np.asarray(picture(content_of, "RGB"))
            while content.read(2**20):  # read to the end, which contains the checksum
                pass
    except Exception as error:  # decompressors and decoders raise arbitrary errors
        raise UserError(f"the archive {path} is incomplete or damaged ({error}): download it again") from error
    return {part: _ordered(found) for part, found in images.items()}


def _ordered(images: Mapping[tuple[int, str], np.ndarray]) -> dict[str, np.ndarray]:
    order = sorted(images)
    return {
        "images": np.stack([images[place].transpose(2, 0, 1) for place in order]),
        "labels": np.array([label for label, _ in order], dtype=np.int64),
    }
