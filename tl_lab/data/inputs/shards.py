"""Images in WebDataset shards (tar files); each image is read at its position in its shard."""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays
from tl_lab.data.inputs.compact import Strings
from tl_lab.data.inputs.decoding import IMAGE_TYPES, decode, reason
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.threads import each
from tl_lab.errors import UserError

__all__ = ["Found", "ShardedImages", "find_samples", "split_name"]


class Found(NamedTuple):
    """Content of shards.

    Attributes:
        images: images in the order of the shards.
        labels: the label of each image, as text.
    """

    images: "ShardedImages"
    labels: list[str]


@dataclass
class ShardedImages:
    """Images in tar files, with the interface of :class:`~tl_lab.data.samples.LazyInputs`.

    Args:
        shards: the files.
        names: names of the images, ``(N,)``.
        places: position of each image: number of its shard, first byte and number of bytes, int64 ``(N, 3)``.
        hashes: hash of each image's content, ``(N,)``.
    """

    shards: Sequence[Path]
    names: Sequence[str]
    places: np.ndarray
    hashes: Sequence[str]

    def __len__(self) -> int:
        return len(self.places)

    def bytes_for(self, spec: ImageSpec) -> int:
        """Return the number of bytes of the decoded images."""
        return spec.bytes_of(len(self))

    def read(self, i: int, spec: ImageSpec) -> Tensor:
        """Decode one image, uint8 ``(channels, *size)``.

        Raises:
            UserError: the image cannot be decoded, or its shard is missing.
        """
        number, start, size = self.places[i].tolist()
        shard = self.shards[number]
        try:
            with shard.open("rb") as file:
                file.seek(start)
                content = file.read(size)
            return decode(io.BytesIO(content), spec)
        except Exception as error:  # decoders raise arbitrary errors for damaged files
            raise UserError(f"the image {self.names[i]} of {shard} cannot be read ({reason(error)})") from error

    def load_all(self, spec: ImageSpec, workers: int = 0) -> Tensor:
        """Decode all images into memory, uint8 ``(N, channels, *size)``, with one thread per worker."""
        images = torch.empty(len(self), spec.channels, *spec.size, dtype=torch.uint8)

        def read(i: int) -> None:
            images[i] = self.read(i, spec)

        for _ in each(read, range(len(self)), workers, "decoding images of shards"):
            pass
        return images

    def subset(self, index: Tensor) -> "ShardedImages":
        """Return the images at ``index``, ``(M,)``, int64, in that order."""
        kept = index.tolist()
        names, hashes = (Strings([every[i] for i in kept]) for every in (self.names, self.hashes))
        return ShardedImages(self.shards, names, self.places[kept], hashes)

    def concatenate(self, parts: "Sequence[ShardedImages]") -> "ShardedImages":
        """Concatenate sets of images."""
        places, shards = [], list[Path]()
        for part in parts:
            places.append(part.places + np.array([len(shards), 0, 0]))
            shards += part.shards
        names, hashes = (
            Strings([text for part in parts for text in getattr(part, field)]) for field in ("names", "hashes")
        )
        return ShardedImages(shards, names, np.concatenate(places), hashes)

    def digests(self) -> list[str]:
        """Return the hash of each image's content."""
        return list(self.hashes)

    def fingerprint(self) -> str:
        """Return a hash of the images' content, in order, independent of their location: 64 hexadecimal digits."""
        return hashlib.sha256("\n".join(self.hashes).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"ShardedImages({len(self)} images in {len(self.shards)} shards)"


def split_name(name: str) -> tuple[str, str]:
    """Split the name of a file in a shard into its sample's key and its extension, as WebDataset does.

    The key ends at the first dot of the last part of the path: ``a/b.c.jpg`` is ``c.jpg`` of the sample ``a/b``.

    Raises:
        UserError: the library webdataset is not installed.
    """
    try:
        from webdataset.tariterators import base_plus_ext
    except ImportError as error:
        raise UserError(
            "data=webdataset needs the library webdataset, which is not installed: install tl_lab[shards]"
        ) from error
    key, ending = base_plus_ext(name)
    return (name, "") if key is None else (key, ending.lower())


def find_samples(shards: Sequence[Path], label: str) -> Found:
    """Find the images in shards, and the label of each image; the index of each shard is cached.

    Args:
        shards: the tar files.
        label: extension of the files that contain labels, for example ``cls``.

    Raises:
        UserError: a shard is damaged, or an image has no label.
    """
    names, hashes, labels, places = list[str](), list[str](), list[str](), list[np.ndarray]()
    for number, shard in enumerate(shards):
        stat = shard.stat()
        key = {"path": str(shard.resolve()), "size": stat.st_size, "time": stat.st_mtime_ns, "label": label}
        found = cached_arrays("shards", {**key, "version": 1}, lambda shard=shard: _look(shard, label))  # type: ignore[misc]
        names += found["names"].tolist()
        hashes += found["hashes"].tolist()
        labels += found["labels"].tolist()
        places.append(np.insert(found["places"], 0, number, axis=1))
    every = np.concatenate(places) if places else np.empty((0, 3), dtype=np.int64)
    return Found(ShardedImages(list(shards), Strings(names), every, Strings(hashes)), labels)


def _look(shard: Path, label: str) -> dict[str, np.ndarray]:
    """Read a shard once: its images with their positions and hashes, and their labels."""
    rows, pending = list[tuple[str, tuple[int, int], str, str]](), dict[str, tuple[str, tuple[int, int], str]]()
    known = dict[str, str]()
    for member, content in _files(shard):
        key, ending = split_name(member.name)
        if ending == label:
            known[key] = content.decode("utf-8", "replace").strip()
        elif f".{ending.rpartition('.')[2]}" in IMAGE_TYPES:
            if key in pending:
                raise UserError(f"{shard}: the sample {key} has two images, {pending[key][0]} and {member.name}")
            place = member.offset_data, member.size
            pending[key] = member.name, place, hashlib.sha256(content).hexdigest()
    for key, (name, place, digest) in pending.items():
        if not known.get(key):
            raise UserError(
                f"{shard}: the image {name} has no label: expected a file {key}.{label} next to it (data.label_ending "
                "sets the extension)"
            )
        rows.append((name, place, digest, known[key]))
    return {
        "names": np.array([row[0] for row in rows], dtype=np.str_),
        "places": np.array([row[1] for row in rows], dtype=np.int64).reshape(-1, 2),
        "hashes": np.array([row[2] for row in rows], dtype=np.str_),
        "labels": np.array([row[3] for row in rows], dtype=np.str_),
    }


def _files(shard: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    try:
        with tarfile.open(shard, "r:") as archive:  # a compressed archive has no random access
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield member, file.read()
                archive.members = []  # type: ignore[attr-defined]  # otherwise it grows by one entry per file
    except tarfile.TarError as error:
        raise UserError(
            f"{shard} cannot be read as a tar file ({error}): shards are tar files without compression"
        ) from error
