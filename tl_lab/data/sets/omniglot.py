"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people."""

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.decoding import picture
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.episodic import EpisodicData
from tl_lab.errors import UserError

__all__ = ["VALIDATION_ALPHABETS", "Characters", "Omniglot", "omniglot_characters", "split_characters"]

_FOLDER, _PARTS = "omniglot-py", ("images_background", "images_evaluation")
_HOW_TO_GET = (
    f"put images_background.zip and images_evaluation.zip, packed or unpacked, into its folder {_FOLDER} (both are at "
    "github.com/brendenlake/omniglot)"
)
_SIZE = 28
_FILE = re.compile(r"(images_background|images_evaluation)/([^/]+)/(character\d+)/(\d+)_(\d+)\.png$")
VALIDATION_ALPHABETS = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
"""Alphabets of the background part, with 172 characters, that the usual split uses for validation."""
_FIRST_OF_TEST = 1201  # number of the first test character in the usual split


@dataclass(frozen=True)
class Characters:
    """All drawings of Omniglot.

    Args:
        images: white strokes on black, uint8 ``(N, 1, 28, 28)``, sorted by character, then by drawer.
        labels: position of each image's character in ``names``, int64 ``(N,)``.
        names: name of each character, such as ``alphabet/character01``, in the order of ``numbers``.
        numbers: number of each character in the published data, 1 to 1623, int64 ``(C,)``.
        background: whether each character belongs to one of the 30 background alphabets, bool ``(C,)``.
    """

    images: Tensor
    labels: Tensor
    names: list[str]
    numbers: Tensor
    background: Tensor

    def fingerprint(self) -> str:
        """Return a hash of drawings and labels."""
        return Samples(self.images, self.labels).fingerprint()


def omniglot_characters(root: str | Path | None = None, cache: Path | None = None) -> Characters:
    """Read Omniglot from its zip files or unpacked folders; decoded images are cached.

    Images are reduced from 105x105 to 28x28 by averaging.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        cache: folder of the cache; None for the default.

    Raises:
        UserError: a part is missing, damaged or incomplete.
    """
    folder = find_root(root, "Omniglot", _HOW_TO_GET) / _FOLDER
    sources = [_source(folder, part) for part in _PARTS]
    key = {"version": 1, "files": {source.name: _identity(source) for source in sources}}
    arrays = cached_arrays("omniglot", key, lambda: _decode(sources), cache)
    return Characters(
        torch.from_numpy(arrays["images"]),
        torch.from_numpy(arrays["labels"]),
        [str(name) for name in arrays["names"]],
        torch.from_numpy(arrays["numbers"]),
        torch.from_numpy(arrays["background"]),
    )


def split_characters(characters: Characters, split: str) -> dict[str, Tensor]:
    """Split the characters into training, validation and test.

    ``vinyals`` has 1,028, 172 and 423 characters: the test part is the last 423, and validation the five alphabets of
    :data:`VALIDATION_ALPHABETS`. ``alphabets`` has 792 background characters, the same 172, and the 659 characters of
    the evaluation part, so that no alphabet is in two parts.

    Args:
        characters: all characters.
        split: ``vinyals`` or ``alphabets``.

    Returns:
        Positions of each part's characters, int64, ascending.

    Raises:
        UserError: the split is unknown.
    """
    if split not in ("vinyals", "alphabets"):
        raise UserError(f"data.split must be 'vinyals' or 'alphabets', not {split!r}")
    test = characters.numbers >= _FIRST_OF_TEST if split == "vinyals" else ~characters.background
    val = torch.tensor([name.split("/")[0] in VALIDATION_ALPHABETS for name in characters.names])
    parts = {"train": ~(test | val), "val": val, "test": test}
    return {part: chosen.nonzero()[:, 0] for part, chosen in parts.items()}


class Omniglot(EpisodicData):
    """Handwritten characters with 20 drawings each, ``(1, 28, 28)``.

    Characters rotated by 90, 180 and 270 degrees are further classes, so that a part has four times as many.

    The usual split is that of Vinyals et al. as published by Snell et al. Their lists are not part of the data, but can
    be derived from a rule (see :func:`split_characters`): the five validation alphabets are those of their list, and
    the start of the test part (which leaves 41 of Gurmukhi's 45 characters in training) follows from its published size
    and the order of the data.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        split: ``vinyals``, or ``alphabets`` for parts that share no alphabet.
        rotations: whether rotated characters are added as classes, in every part.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.episodic.EpisodicData`.

    References:
        Lake, Salakhutdinov and Tenenbaum, Human-Level Concept Learning through Probabilistic Program Induction,
        Science 350 (2015). Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016. Snell, Swersky and
        Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, section 3.1.
    """

    place_options = ("root",)

    def __init__(
        self,
        *,
        root: str | None = None,
        split: Literal["vinyals", "alphabets"] = "vinyals",
        rotations: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.split, self.rotations = root, split, rotations

    def read(self) -> dict[str, Samples]:
        """Read the drawings, split the characters, and add their rotations."""
        characters = omniglot_characters(self.root)
        self.contents = [characters.fingerprint()]
        sets = {}
        for part, chosen in split_characters(characters, self.split).items():
            sets[part], self.classes[part] = turned(characters, chosen, 4 if self.rotations else 1)
        rotated = ", rotated characters are separate classes" if self.rotations else ""
        self.notes.append(f"Omniglot: split {self.split}{rotated}")
        return sets


def turned(characters: Characters, chosen: Tensor, turns: int) -> tuple[Samples, list[str]]:
    """Build a set from some characters and their rotations by multiples of 90 degrees.

    Args:
        characters: all characters.
        chosen: positions of the characters to use, ``(C,)``, ascending.
        turns: number of orientations, from 1 (unrotated characters only) to 4.

    Returns:
        The drawings, first unrotated, then rotated by 90 degrees anticlockwise, and so on; and the names of the
        ``turns * C`` classes.
    """
    here = torch.isin(characters.labels, chosen).nonzero()[:, 0]
    x, y = characters.images[here], torch.searchsorted(chosen, characters.labels[here])
    images = torch.cat([x.rot90(k, (2, 3)) for k in range(turns)])
    labels = torch.cat([y + k * len(chosen) for k in range(turns)])
    names = [characters.names[c] for c in chosen.tolist()]
    return Samples(images, labels), [f"{name} {90 * k}°" if k else name for k in range(turns) for name in names]


def _source(folder: Path, part: str) -> Path:
    for path in (folder / f"{part}.zip", folder / part):
        if path.exists():
            return path
    raise missing("Omniglot", folder / f"{part}.zip", _HOW_TO_GET)


def _identity(source: Path) -> str | list[str]:
    return file_hash(source) if source.is_file() else sorted(f"{p} {p.stat().st_size}" for p in source.rglob("*.png"))


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the path of each file, starting with the folder of the part, and its content."""
    if source.is_dir():
        for path in source.rglob("*.png"):
            yield path.relative_to(source.parent).as_posix(), path.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if name.endswith(".png"):
                yield name, archive.read(name)


def _decode(sources: list[Path]) -> dict[str, np.ndarray]:
    drawings: dict[tuple[int, int], np.ndarray] = {}
    names: dict[int, tuple[str, bool]] = {}
    for source in sources:
        try:
            for path, content in _files(source):
                if (found := _FILE.search(path)) is None:
                    continue
                part, alphabet, character, number, drawer = found.groups()
                small = picture(io.BytesIO(content), "L").resize((_SIZE, _SIZE), Image.Resampling.BOX)
                drawings[int(number), int(drawer)] = 255 - np.asarray(small)
                names[int(number)] = f"{alphabet}/{character}", part == _PARTS[0]
        except (OSError, zipfile.BadZipFile) as error:
            raise UserError(f"Omniglot in {source} cannot be read ({error}): {_HOW_TO_GET}") from error
    numbers = sorted(names)
    if len(numbers) != 1623 or len(drawings) != 32_460:
        raise UserError(
            f"Omniglot in {sources[0].parent} is incomplete: it has {len(numbers):,} of 1,623 characters and "
            f"{len(drawings):,} of 32,460 drawings: {_HOW_TO_GET}"
        )
    order = sorted(drawings)
    return {
        "images": np.stack([drawings[place] for place in order])[:, None],
        "labels": np.searchsorted(numbers, [number for number, _ in order]).astype(np.int64),
        "names": np.array([names[number][0] for number in numbers]),
        "numbers": np.array(numbers, dtype=np.int64),
        "background": np.array([names[number][1] for number in numbers]),
    }
