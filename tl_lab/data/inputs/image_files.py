"""Image files, decoded on demand."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import file_hash
from tl_lab.data.inputs.compact import Strings
from tl_lab.data.inputs.decoding import decode, reason
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.levels import Depth, Levels
from tl_lab.data.inputs.threads import each
from tl_lab.errors import UserError

__all__ = ["FileFacts", "ImageFiles"]


@dataclass(frozen=True)
class FileFacts:
    """Facts about an image file.

    Args:
        digest: SHA-256 hash of its content, as hexadecimal digits.
        depth: kind and range of its values, if they have more than 8 bits; otherwise None.
        levels: the values displayed as black and white.
    """

    digest: str
    depth: Depth | None = None
    levels: Levels | None = None


class ImageFiles:
    """A list of image files, with the interface of :class:`~tl_lab.data.samples.LazyInputs`.

    Args:
        root: the folder to which the names are relative.
        names: names of the files, relative to ``root``, with ``/`` between folders.
        facts: facts about each file; None to determine them on demand.
    """

    def __init__(self, root: Path, names: Sequence[str], facts: Sequence[FileFacts] | None = None) -> None:
        self.root, self.names = Path(root), Strings(names)
        self.facts = None if facts is None else list(facts)
        # separate from the facts, because workers that access that list would copy it
        found = [one.levels for one in self.facts or ()]
        self._levels = list({id(one): one for one in found}.values())
        places = {id(one): place for place, one in enumerate(self._levels)}
        self._which_levels = np.array([places[id(one)] for one in found], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.names)

    def bytes_for(self, spec: ImageSpec) -> int:
        """Return the number of bytes of the decoded images."""
        return spec.bytes_of(len(self))

    def read(self, i: int, spec: ImageSpec) -> Tensor:
        """Decode one image, and convert it to the backbone's size and channels.

        Args:
            i: position of the image in the list.
            spec: size, channels and the share that the central crop keeps.

        Returns:
            The image, uint8 ``(channels, *size)``.

        Raises:
            UserError: the file cannot be read.
        """
        path = self.root / self.names[i]
        try:
            return decode(path, spec, self._levels[self._which_levels[i]] if self._levels else None)
        except Exception as error:  # decoders raise arbitrary errors for damaged files
            raise UserError(
                f"the image {path} cannot be read ({reason(error)}): remove or replace it, "
                "or leave unreadable files out"
            ) from error

    def load_all(self, spec: ImageSpec, workers: int = 0) -> Tensor:
        """Decode all images into memory.

        Args:
            spec: see :meth:`read`.
            workers: number of threads that decode in parallel; with 0 or 1, no threads are used.

        Returns:
            The images, uint8 ``(N, channels, *size)``.

        Raises:
            UserError: a file cannot be read.
        """
        images = torch.empty(len(self), spec.channels, *spec.size, dtype=torch.uint8)

        def read(i: int) -> None:
            images[i] = self.read(i, spec)

        for _ in each(read, range(len(self)), workers, f"decoding images of {self.root.name}"):
            pass
        return images

    def subset(self, index: Tensor) -> "ImageFiles":
        """Return the images at ``index``, ``(M,)``, int64, in that order."""
        places = index.tolist()
        facts = None if self.facts is None else [self.facts[i] for i in places]
        return ImageFiles(self.root, [self.names[i] for i in places], facts)

    def concatenate(self, parts: "Sequence[ImageFiles]") -> "ImageFiles":
        """Concatenate lists of images; names become relative to the common parent folder."""
        root = Path(os.path.commonpath([part.root for part in parts]))
        names = [(part.root / name).relative_to(root).as_posix() for part in parts for name in part.names]
        known = [part.facts for part in parts if part.facts is not None]
        facts = [one for part in known for one in part] if len(known) == len(parts) else None
        return ImageFiles(root, names, facts)

    def depths(self) -> list[Depth]:
        """Return kind and range of the values of each image with more than 8 bits per value."""
        return [one.depth for one in self.facts or () if one.depth is not None]

    def with_levels(self, levels: Levels) -> "ImageFiles":
        """Return the same images with other levels for decoding."""
        return ImageFiles(self.root, self.names, [replace(one, levels=levels) for one in self.facts or ()] or None)

    def digests(self) -> list[str]:
        """Return the hash of each file's content."""
        if self.facts is not None:
            return [one.digest for one in self.facts]
        return [file_hash(self.root / name) for name in self.names]

    def fingerprint(self) -> str:
        """Return a hash of the files' content, in order, independent of their location: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for i, content in enumerate(self.digests()):
            digest.update(content.encode())
            if self.facts is not None and (levels := self.facts[i].levels) is not None and self.facts[i].depth:
                digest.update(str(levels).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"ImageFiles({str(self.root)!r}, {len(self)} images)"
