"""The project's decoder and random changes beside torchvision's: throughput, and whether decoded pixels are equal.

    python benchmarks/decoders.py         # one minute

Decodes JPEG files from memory in one thread, as they are and resized: by the project's decoder (Pillow), and by
``torchvision.io.decode_jpeg`` with ``Resize`` (antialiased) and ``CenterCrop`` of ``torchvision.transforms.v2``. Rounds
of both take turns. Then batches are rotated, shifted, enlarged, mirrored and changed in brightness and contrast: by
the project as a whole, and by ``torchvision.transforms.v2`` image by image, because it draws the same change for all
images of a call. Writes docs/results/decoders.json.
"""

import argparse
import io
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image, __version__
from portable import portable
from quiet import cpu_seconds
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import v2

from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.inputs.decoding import decode
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.results.folder.files import write_json

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "decoders.json"
CASES = {  # width in the file, height and width that are asked for, number of images
    "64x64": (64, (64, 64), 400),
    "500x375": (500, (375, 500), 60),
    "500x375 to 224x224": (500, (224, 224), 60),
}
CHANGES = {"128 of 32x32": (128, 32), "32 of 224x224": (32, 224)}  # images in a batch, and their side


def jpeg(draw: np.random.Generator, width: int) -> bytes:
    """Encode a picture of smooth patches with some noise, as a camera does (quality 92, colours at half resolution)."""
    height = width if width < 100 else width * 3 // 4
    rough = draw.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = np.clip(smooth + draw.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "jpeg", quality=92)
    return file.getvalue()


def measured(width: int, size: tuple[int, int], count: int, rounds: int) -> dict[str, Any]:
    """Time both decoders in turn, by CPU time; compare their pixels."""
    draw, spec = np.random.default_rng(0), ImageSpec(size, 3)
    contents = [jpeg(draw, width) for _ in range(count)]
    resize = v2.Compose([v2.Resize(min(size), antialias=True), v2.CenterCrop(size)])

    def own(content: bytes) -> Tensor:
        return decode(io.BytesIO(content), spec)

    def other(content: bytes) -> Tensor:
        encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        return resize(decode_jpeg(encoded, mode=ImageReadMode.RGB))

    sides: dict[str, Callable[[bytes], Tensor]] = {"project": own, "torchvision": other}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, read in sides.items():
            before = cpu_seconds()
            for content in contents:
                read(content)
            rates[name].append(count / (cpu_seconds() - before))
    steps = [(own(one).int() - other(one).int()).abs() for one in contents]
    return {
        "images_a_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": [a / b for a, b in zip(rates["torchvision"], rates["project"], strict=True)],
        "largest_difference": max(int(step.max()) for step in steps),
        "share_of_values_that_differ": float(statistics.fmean(float((step > 0).float().mean()) for step in steps)),
    }


def changed(count: int, side: int, rounds: int) -> dict[str, Any]:
    """Time random changes of a batch in turn, by CPU time."""
    own = Augmentation(rotation=5.0, translation=0.05, scale=(1.0, 1.4), flip=0.5, brightness=0.1, contrast=0.2)
    affine = v2.RandomAffine(5.0, (0.05, 0.05), (1.0, 1.4), interpolation=v2.InterpolationMode.BILINEAR)
    other = v2.Compose([affine, v2.RandomHorizontalFlip(0.5), v2.ColorJitter(0.1, 0.2)])
    x, draw = torch.rand(count, 3, side, side), torch.Generator().manual_seed(0)
    sides: dict[str, Callable[[], Tensor]] = {
        "project": lambda: own(x, draw),
        "torchvision": lambda: torch.stack([other(image) for image in x]),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, change in sides.items():
            before = cpu_seconds()
            for _ in range(5):
                change()
            rates[name].append(5 * count / (cpu_seconds() - before))
    return {
        "images_a_second": {name: statistics.median(values) for name, values in rates.items()},
        "ratio": [a / b for a, b in zip(rates["torchvision"], rates["project"], strict=True)],
    }


def main() -> None:
    """Measure, print and store."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--output", type=Path, default=RESULTS)
    given = options.parse_args()
    torch.set_num_threads(1)
    versions = {"pillow": __version__, "torchvision": torchvision.__version__.split("+")[0]}
    found: dict[str, Any] = {**versions, "rounds": given.rounds, "cases": {}}
    for name, sizes in CASES.items():
        found["cases"][name] = measured(*sizes, given.rounds)
        print(name, found["cases"][name], flush=True)
    found["changes"] = {name: changed(*sizes, given.rounds) for name, sizes in CHANGES.items()}
    print(found["changes"])
    write_json(given.output, portable(found))


if __name__ == "__main__":
    main()
