"""Check every image file before use: whether it is readable, the range of its values, and its hash."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.decoding import depth_of, open_image, reason, to_eight_bits
from tl_lab.data.inputs.image_files import FileFacts, ImageFiles
from tl_lab.data.inputs.levels import Depth, Levels
from tl_lab.data.inputs.threads import each
from tl_lab.errors import UserError
from tl_lab.texts import listed, printable

__all__ = ["Examined", "examine", "keep_readable", "levels_for"]

_SKIP = "set data.unreadable=skip to leave them out"


class Examined(NamedTuple):
    """Result of checking image files.

    Attributes:
        facts: facts about each file, in order.
        unreadable: the reason for each file that cannot be decoded, by its position in the list.
    """

    facts: list[FileFacts]
    unreadable: dict[int, str]


def examine(files: ImageFiles, workers: int = 0, cache: Path | None = None) -> Examined:
    """Decode every file once; the result is cached until a file of the list changes.

    Args:
        files: the images.
        workers: number of threads that decode in parallel.
        cache: folder that stores the result; None for the default.
    """

    def look() -> dict[str, np.ndarray]:
        paths = [files.root / name for name in files.names]
        seen = list(each(_look, paths, workers, f"checking images of {files.root.name}"))
        depths = [depth or Depth("", 0.0, 0.0) for _, _, depth in seen]
        return {
            "digests": np.array([digest for digest, _, _ in seen], dtype=np.str_),
            "reasons": np.array([text for _, text, _ in seen], dtype=np.str_),
            "kinds": np.array([depth.kind for depth in depths], dtype=np.str_),
            "ranges": np.array([depth[1:] for depth in depths], dtype=np.float64).reshape(-1, 2),
        }

    versions = [(name, *_version(files.root / name)) for name in files.names]
    key = {
        "version": 2,
        "root": str(files.root.resolve()),
        "files": hashlib.sha256(ascii(versions).encode()).hexdigest(),
    }
    found = cached_arrays("images", key, look, cache)
    depths = [
        Depth(kind, *limits) if kind else None
        for kind, limits in zip(found["kinds"].tolist(), found["ranges"].tolist(), strict=True)
    ]
    facts = [FileFacts(*one) for one in zip(found["digests"].tolist(), depths, strict=True)]
    return Examined(facts, {i: text for i, text in enumerate(found["reasons"].tolist()) if text})


def _version(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError:  # a broken link
        return -1, 0, 0
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _look(path: Path) -> tuple[str, str, Depth | None]:
    """Return a file's hash, the reason why it cannot be decoded (or nothing), and its depth if it exceeds 8 bits."""
    try:
        with open_image(path) as image:
            # a JPEG is then read completely, but at low resolution
            image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            depth = depth_of(image)
            if depth is None:
                to_eight_bits(image.crop((0, 0, 1, 1)), "RGB")  # fails for an unknown mode
        return file_hash(path), "", depth
    except Exception as error:  # decoders raise arbitrary errors for damaged files
        return "", reason(error), None


def keep_readable(
    files: ImageFiles,
    labels: Tensor | None,
    unreadable: str,
    workers: int = 0,
    cache: Path | None = None,
    skip: str = _SKIP,
    known: Levels | None = None,
) -> tuple[ImageFiles, Tensor | None, str]:
    """Skip unreadable images, or raise an error.

    Args:
        files: the images.
        labels: their classes, ``(N,)``; None if there are none.
        unreadable: ``stop`` or ``skip``.
        workers: number of threads that decode in parallel.
        cache: see :func:`examine`.
        skip: how to skip such files, for the message.
        known: levels of the training images, for images of more than 8 bits; an image with values outside of them
            counts as unreadable.

    Returns:
        The readable images with their facts, their classes, and a description of the skipped ones (empty if
        none).

    Raises:
        UserError: the option is invalid, or images are unreadable and the option is ``stop``.
    """
    if unreadable not in ("stop", "skip"):
        raise UserError(f"data.unreadable must be 'stop' or 'skip', not {unreadable!r}")
    facts, bad = examine(files, workers, cache)
    bad |= _beyond(facts, known or Levels())
    whole = ImageFiles(files.root, files.names, facts)
    if not bad:
        return whole, labels, ""
    message = f"{len(bad)} of {len(files)} images in {files.root} cannot be read: " + listed(
        f"{printable(files.names[i])} ({why})" for i, why in sorted(bad.items())
    )
    if unreadable == "stop":
        raise UserError(f"{message}; remove or replace them, or {skip}")
    good = torch.tensor([i for i in range(len(files)) if i not in bad], dtype=torch.int64)
    return whole.subset(good), None if labels is None else labels[good], f"skipped: {message}"


def _beyond(facts: Sequence[FileFacts], known: Levels) -> dict[int, str]:
    """Return the reason for each file whose values are outside the levels of its kind."""
    bad = {}
    for i, one in enumerate(facts):
        if one.depth is not None and (known.chosen or one.depth.kind in known.ranges):
            try:
                known.range_of(one.depth)
            except ValueError as error:
                bad[i] = str(error)
    return bad


def levels_for(files: Sequence[ImageFiles], known: Levels | None, place: Path) -> Levels:
    """Determine which values are black and white in images of more than 8 bits, for all files of a set.

    Args:
        files: the files of each part of the set.
        known: levels chosen by the user or found in training; None for neither.
        place: folder of the files, for the message.

    Raises:
        UserError: the levels cannot be determined.
    """
    try:
        return (known or Levels()).extended(depth for part in files for depth in part.depths())
    except ValueError as error:
        raise UserError(f"the images in {place} have {error}, for example data.levels=[0,1]") from error
