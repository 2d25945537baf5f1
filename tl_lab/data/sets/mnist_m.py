"""MNIST-M: the digits of MNIST blended into photographs."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.decoding import picture
from tl_lab.data.inputs.finding import images_below
from tl_lab.data.roots import missing
from tl_lab.errors import UserError
from tl_lab.randomness import derive_seed

__all__ = ["blend", "mnist_m", "photographs"]

_FOLDER = "bsds500"
_HOW_TO_GET = "put the 200 training photographs of BSDS500 (jpg) into that folder"


def photographs(root: Path) -> list[Path]:
    """List the photographs of BSDS500 in ``root/bsds500``, sorted by name.

    Raises:
        UserError: there are none.
    """
    folder = root / _FOLDER
    found = sorted(folder / name for name in images_below(folder))
    if not found:
        raise missing("BSDS500", folder, _HOW_TO_GET)
    return found


def blend(digits: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """Blend digits into patches of photographs: ``|patch - digit|`` in each channel.

    Args:
        digits: grey images, uint8 ``(N, H, W)``.
        patches: colour images, uint8 ``(N, H, W, 3)``.

    Returns:
        The blended images, uint8 ``(N, H, W, 3)``.

    References:
        Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 17 (2016), section 5.2.4.
    """
    return np.abs(patches.astype(np.int16) - digits.astype(np.int16)[..., None]).astype(np.uint8)


def mnist_m(digits: Tensor, root: Path, seed: int, part: str) -> Tensor:
    """Blend each digit into a random patch of a random photograph; the result is cached.

    The set published by the authors was made in the same way from the same two sources, with other random patches.

    Args:
        digits: grey images, uint8 ``(N, 1, H, W)``.
        root: folder of the data sets, which contains ``bsds500``.
        seed: seed of the random patches; the run's seed does not change the data set.
        part: ``train`` or ``test``; the patches of the two are independent.

    Returns:
        Colour images, uint8 ``(N, 3, H, W)``, in the order of the digits.

    Raises:
        UserError: there are no photographs, or one cannot be read.
    """
    files = photographs(root)
    images = np.ascontiguousarray(digits.squeeze(1).numpy())
    key = {
        "digits": hashlib.sha256(images.tobytes()).hexdigest(),
        "shape": list(images.shape),
        "photographs": [file_hash(file) for file in files],
        "seed": seed,
        "part": part,
        "version": 1,
    }

    def make() -> dict[str, np.ndarray]:
        return {"x": blend(images, _patches(files, len(images), images.shape[1:], seed, part))}

    x = cached_arrays(f"mnist_m_{part}", key, make)["x"]
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()


def _patches(files: Sequence[Path], count: int, size: tuple[int, ...], seed: int, part: str) -> np.ndarray:
    draw = np.random.default_rng(derive_seed(seed, "mnist_m", part))
    which, corners = draw.integers(len(files), size=count), draw.random((count, 2))
    height, width = size
    patches = np.empty((count, height, width, 3), np.uint8)
    for number, file in enumerate(track(files, f"building MNIST-M, {part}", transient=True)):
        try:
            photograph = np.asarray(picture(file, "RGB"))
        except (OSError, ValueError) as error:
            raise UserError(f"the photograph {file} cannot be read ({error}): {_HOW_TO_GET}") from error
        if photograph.shape[0] < height or photograph.shape[1] < width:
            raise UserError(f"the photograph {file} is smaller than a digit: {_HOW_TO_GET}")
        rows = np.flatnonzero(which == number)
        room = np.array(photograph.shape[:2]) - (height, width) + 1
        for row, (top, left) in zip(rows, (corners[rows] * room).astype(int), strict=True):
            patches[row] = photograph[top : top + height, left : left + width]
    return patches
