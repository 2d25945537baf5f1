"""Images that are read while training goes on: memory over an epoch, and throughput beside a plain DataLoader.

    uv run --with webdataset python benchmarks/large_data.py                 # 20,000 images, some five minutes
    uv run --with webdataset python benchmarks/large_data.py --images 200000
    uv run --with webdataset python benchmarks/large_data.py --throughput  # also recordings; some minutes
    python benchmarks/large_data.py --texts 1000000   # a table as a whole and part by part; some ten minutes
    python benchmarks/large_data.py --allocator --images 12000   # why memory grows in the first thousands of images

Makes small JPEG files, and tar shards of the same files, in a folder that is removed afterwards. Both sides decode by
the same function, shuffle, and give normalised batches to the same tiny step; their epochs take turns. The memory is
that of this process and its workers together (proportional set size), at ten places of an epoch. Without the library
webdataset its side is left out. Writes docs/results/large_data.json.

``--throughput`` repeats the comparison with a plain DataLoader alone, more often and on fewer files, also for
recordings. ``--texts`` writes a table of that many rows; two processes, which read it as a whole and part by part, go
through an epoch. Their memory is the resident set.

``--allocator`` compares the C library's usual allocator, which moves large blocks to its heap after the first one was
freed, with one that returns each of them to the system: what grows with the latter is kept by the program.
"""

import argparse
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from portable import portable
from quiet import cpu_seconds
from scipy.io import wavfile
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tl_lab.data.base import DataModule
from tl_lab.data.cache import CACHE_VARIABLE
from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.data.inputs.decoding import decode
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.recordings import read_wave
from tl_lab.data.inputs.tokenisers import Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.sets.audio_folder import AudioFolder
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.data.sets.text_table import TextTable
from tl_lab.errors import UserError
from tl_lab.results.folder.files import write_json

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results" / "large_data.json"
SIDE, CLASSES, IN_A_SHARD = 64, 10, 5000
SPEC = ImageSpec((SIDE, SIDE), 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def write_images(folder: Path, count: int) -> int:
    """Write JPEG files of a few KB, in folders of classes and in shards; give the bytes of a file on average."""
    draw, size = np.random.default_rng(0), 0
    (folder / "shards").mkdir(parents=True)
    archive: tarfile.TarFile | None = None
    for i in range(count):
        if i % IN_A_SHARD == 0:
            if archive is not None:
                archive.close()
            archive = tarfile.open(folder / "shards" / f"train-{i // IN_A_SHARD:04}.tar", "w")  # noqa: SIM115
        rough = draw.integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8)
        picture = Image.fromarray(rough).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        picture.save(file, "jpeg", quality=92)
        content, label = file.getvalue(), i % CLASSES
        size += len(content)
        place = folder / "files" / "train" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:07}.jpg").write_bytes(content)
        assert archive is not None
        for ending, part in (("jpg", content), ("cls", str(label).encode())):
            info = tarfile.TarInfo(f"{i:07}.{ending}")
            info.size = len(part)
            archive.addfile(info, io.BytesIO(part))
    if archive is not None:
        archive.close()
    return size // count


class Plain(Dataset):
    """What one writes by hand: a list of paths, decoded and normalised one by one."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Decode one image."""
        x = decode(self.paths[i], SPEC).float().div_(255)
        mean, std = torch.tensor(SPEC.mean).view(3, 1, 1), torch.tensor(SPEC.std).view(3, 1, 1)
        return (x - mean) / std, int(self.paths[i].parent.name)


def prepared(data: DataModule) -> DataModule:
    """Read and prepare data as a run does."""
    data.load()
    data.use(SPEC)
    return data


class PlainRecordings(Dataset):
    """A list of recordings by hand, with the same features."""

    def __init__(self, paths: list[Path], spec: AudioSpec) -> None:
        self.paths, self.spec = paths, spec

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Compute the features of one recording."""
        return self.spec.features_of(*read_wave(self.paths[i])), int(self.paths[i].parent.name)

    def collate(self, samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
        """Pad the recordings of a batch."""
        return self.spec.joined([x for x, _ in samples])["mel"], torch.tensor([y for _, y in samples])


def write_recordings(folder: Path, count: int) -> None:
    """Write recordings of about half a second, in folders of classes."""
    draw = np.random.default_rng(0)
    for i in range(count):
        place = folder / "recordings" / "train" / str(i % CLASSES)
        place.mkdir(parents=True, exist_ok=True)
        samples = draw.integers(-(2**12), 2**12, int(draw.integers(3000, 5000))).astype(np.int16)
        wavfile.write(place / f"{i:07}.wav", 8000, samples)
    for part in ("val", "test"):  # none is split off
        for label in range(CLASSES):
            place = folder / "recordings" / part / str(label)
            place.mkdir(parents=True, exist_ok=True)
            wavfile.write(place / "one.wav", 8000, draw.integers(-(2**12), 2**12, 4000).astype(np.int16))


def memory_mb() -> float:
    """Add up the proportional set sizes of this process and its children."""
    return sum(_kilobytes("Pss")) / 1024


def _kilobytes(what: str) -> list[int]:
    """Read an entry of the memory maps of this process and of its children."""
    own, found = os.getpid(), []
    for process in (own, *Path(f"/proc/{own}/task/{own}/children").read_text().split()):
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:  # it has just ended
            continue
        found.append(next(int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{what}:")))
    return found


def of_its_own(images: int, workers: int, batch: int) -> dict[str, list[float]]:
    """Measure the memory that belongs to the training process and to its workers alone, in MB, over an epoch."""
    seen: dict[str, list[float]] = {"training process": [], "workers": []}
    with tempfile.TemporaryDirectory() as name:
        os.environ[CACHE_VARIABLE] = f"{name}/cache"
        write_images(Path(name), images)
        options: dict[str, Any] = {"batch_size": batch, "workers": workers, "lazy": True, "val_share": 0.01}
        data = prepared(ImageFolder(root=f"{name}/files", test_share=0.01, **options))
        length = len(data.train_dataloader())
        for i, _ in enumerate(_pairs(data, 0)):
            if i == 0 or (i + 1) % max(1, length // 10) == 0:
                first, *others = (value / 1024 for value in _kilobytes("Private_Dirty"))
                seen["training process"].append(round(first, 1))
                seen["workers"].append(round(sum(others), 1))
    return seen


def compare_allocators(given: argparse.Namespace) -> dict[str, Any]:
    """Measure in processes of their own, with the usual allocator and with large blocks returned to the system."""
    found: dict[str, Any] = {"images": given.images}
    for name, environment in (("usual", {}), ("blocks returned", {"MALLOC_MMAP_THRESHOLD_": "262144"})):
        command = [sys.executable, __file__, "--its-own", f"--images={given.images}", f"--workers={given.workers}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
        found[name] = json.loads(ended.stdout.splitlines()[-1])
        print(name, found[name], flush=True)
    return found


def throughput(given: argparse.Namespace) -> dict[str, Any]:
    """Compare epochs with those of a plain DataLoader, in turn."""
    spec, options = AudioSpec(8000, bands=40, window=200, hop=80), {"batch_size": given.batch, "workers": given.workers}
    options |= {"lazy": True, "val_share": 0.01}
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        os.environ[CACHE_VARIABLE] = f"{name}/cache"
        folder = Path(name)
        write_images(folder, given.images)
        write_recordings(folder, given.images)
        sides: dict[str, Any] = {
            "image_folder": prepared(ImageFolder(root=f"{name}/files", test_share=0.01, **options))
        }
        try:
            from tl_lab.data.sets.webdataset import WebDataset

            sides["webdataset"] = prepared(WebDataset(root=f"{name}/shards", test_share=0.01, **options))
        except UserError as error:
            print(error)
        sides["audio_folder"] = AudioFolder(path=f"{name}/recordings", length_buckets=False, **options)
        sides["audio_folder"].load()
        sides["audio_folder"].use(spec)
        shared: dict[str, Any] = {"batch_size": given.batch, "shuffle": True, "drop_last": True}
        shared["num_workers"] = given.workers
        recordings = PlainRecordings(sorted((folder / "recordings" / "train").rglob("*.wav")), spec)
        sides["plain images"] = DataLoader(Plain(sorted((folder / "files" / "train").rglob("*.jpg"))), **shared)
        sides["plain recordings"] = DataLoader(recordings, collate_fn=recordings.collate, **shared)
        for repeat in range(given.repeats):
            order = [*sides] if repeat % 2 == 0 else [*reversed(sides)]
            for side in order:
                batches = sides[side] if side.startswith("plain") else _pairs(sides[side], repeat)
                seconds, images, _ = one_epoch(batches, 1)
                rates.setdefault(side, []).append(images / seconds)
                print(f"{side}: {images / seconds:,.0f} a second", flush=True)
    by_hand = {"image_folder": "plain images", "webdataset": "plain images", "audio_folder": "plain recordings"}
    return {
        "samples": given.images, "workers": given.workers, "batch_size": given.batch, "repeats": given.repeats,
        "a_second": {side: statistics.median(all_) for side, all_ in rates.items()},
        "ratio": {
            side: [own / other for own, other in zip(rates[side], rates[by_hand[side]], strict=True)]
            for side in by_hand if side in rates
        },
        "torch": torch.__version__.split("+")[0],
    }  # fmt: skip


# ---------------------------------------------------------------------- texts


def write_table(path: Path, rows: int) -> None:
    """Write short texts of 4 to 20 words with one of ten classes."""
    draw, words = np.random.default_rng(0), np.array(_words())
    with path.open("w") as file:
        file.write("text,label\n")
        for start in range(0, rows, 10_000):
            lengths = draw.integers(4, 21, min(10_000, rows - start))
            texts = np.split(words[draw.zipf(1.3, lengths.sum()) % len(words)], lengths.cumsum()[:-1])
            file.writelines(f"{' '.join(text)} {start + i},c{i % CLASSES}\n" for i, text in enumerate(texts))


def _words() -> list[str]:
    return ["".join(chr(97 + number // 26**place % 26) for place in range(4)) for number in range(20_000)]


def of_texts(path: Path, lazy: bool, batch: int) -> dict[str, Any]:
    """Read a table, tokenise it and go through an epoch; measure the memory of this process."""
    spec = TokenSpec(20_002, 32, tokeniser=Words(_words()))
    data = TextTable(path=str(path), lazy=lazy, batch_size=batch)
    found: dict[str, Any] = {"before_mb": _resident("VmHWM")}
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.load()
    data.use(spec)
    found |= {"reading_s": time.perf_counter() - began, "epoch_mb": []}
    loader, digest = data.train_dataloader(), hashlib.sha256()
    began, texts = time.perf_counter(), 0
    for i, x in enumerate(loader):
        digest.update(x.x["ids"].numpy().tobytes() + x.y.numpy().tobytes())
        texts += len(x.y)
        if (i + 1) % max(1, len(loader) // 10) == 0:
            found["epoch_mb"].append(round(_resident("VmRSS"), 1))
    seconds = time.perf_counter() - began
    return {
        **found,
        "texts_a_second": texts / seconds,
        "batches": digest.hexdigest()[:16],
        "peak_mb": _resident("VmHWM"),
    }


def _resident(what: str) -> float:
    """Read the resident set of this process, or its peak, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:"))


def compare_texts(given: argparse.Namespace) -> dict[str, Any]:
    """Read a table as a whole and part by part, in processes of their own, each with an empty cache."""
    found: dict[str, Any] = {"rows": given.texts, "batch_size": given.batch}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        write_table(path, given.texts)
        found["bytes"] = path.stat().st_size
        for way in ("whole", "parts"):
            command = [sys.executable, __file__, "--table", str(path), "--way", way, f"--batch={given.batch}"]
            environment = {**os.environ, CACHE_VARIABLE: f"{name}/cache-{way}"}
            ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found[way] = json.loads(ended.stdout.splitlines()[-1])
            print(way, found[way], flush=True)
        files = [file for file in Path(f"{name}/cache-parts").rglob("*") if file.is_file()]
        found["cache_bytes"] = sum(file.stat().st_size for file in files)
    assert found["whole"]["batches"] == found["parts"]["batches"], "both ways must give the same batches"
    return {**found, "torch": torch.__version__.split("+")[0]}


def one_epoch(batches: Iterable[Any], length: int, memory: bool = False) -> tuple[float, int, list[float]]:
    """Go through an epoch: seconds from the first to the last batch, images after the first batch, and memory."""
    weights = torch.zeros(3)
    began, images, seen = 0.0, 0, []
    for i, (x, y) in enumerate(batches):
        weights += x.mean() + y.float().mean()
        if memory and (i + 1) % max(1, length // 10) == 0:
            seen.append(round(memory_mb(), 1))
        if i == 0:
            began = time.perf_counter()  # workers have started
        else:
            images += len(y)
    return time.perf_counter() - began, images, seen


def _pairs(data: DataModule, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    loader = data.train_dataloader()
    loader.set_epoch(epoch)
    for batch in loader:
        yield batch.x if isinstance(batch.x, Tensor) else batch.x["mel"], batch.y


def main() -> None:
    """Measure, print and store."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--images", type=int, default=20_000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--output", type=Path, default=RESULTS)
    options.add_argument("--allocator", action="store_true", help="measure why memory grows at first, and store it")
    options.add_argument(
        "--throughput", action="store_true", help="repeat the comparison with a plain DataLoader alone"
    )
    options.add_argument("--texts", type=int, help="rows of a table that is read as a whole and part by part")
    options.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--way", choices=["whole", "parts"], help=argparse.SUPPRESS)
    options.add_argument("--its-own", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(1)
    if given.its_own:
        print(json.dumps(of_its_own(given.images, given.workers, given.batch)))
        return
    if given.table:
        print(json.dumps(of_texts(given.table, given.way == "parts", given.batch)))
        return
    stored = json.loads(given.output.read_text()) if given.output.is_file() else {}
    if given.allocator:
        write_json(given.output, portable({**stored, "allocator": compare_allocators(given)}))
        return
    if given.throughput:
        write_json(given.output, portable({**stored, "throughput": throughput(given)}))
        return
    if given.texts:
        write_json(given.output, portable({**stored, "texts": compare_texts(given)}))
        return
    with tempfile.TemporaryDirectory() as name:
        os.environ[CACHE_VARIABLE] = f"{name}/cache"
        folder, began = Path(name), time.perf_counter()
        size = write_images(folder, given.images)
        made = time.perf_counter() - began
        print(f"{given.images:,} images of {size:,} bytes, written in {made:.0f} s", flush=True)
        shared: dict[str, Any] = {"batch_size": given.batch, "workers": given.workers, "lazy": True, "val_share": 0.01}
        began = time.perf_counter()
        sides = {"image_folder": prepared(ImageFolder(root=str(folder / "files"), test_share=0.01, **shared))}
        found: dict[str, Any] = {"looked_s": {"image_folder": time.perf_counter() - began}}
        try:
            from tl_lab.data.sets.webdataset import WebDataset

            began = time.perf_counter()
            sides["webdataset"] = prepared(WebDataset(root=str(folder / "shards"), test_share=0.01, **shared))
            found["looked_s"]["webdataset"] = time.perf_counter() - began
        except UserError as error:
            print(error)
        paths = sorted((folder / "files" / "train").rglob("*.jpg"))
        plain: Any = DataLoader(Plain(paths), given.batch, shuffle=True, drop_last=True, num_workers=given.workers)
        rates: dict[str, list[float]] = {name: [] for name in ("plain", *sides)}
        costs: dict[str, list[float]] = {name: [] for name in rates}
        memory: dict[str, list[float]] = {}
        for repeat in range(given.repeats):
            for side in rates:
                batches = plain if side == "plain" else _pairs(sides[side], repeat)
                length = len(plain) if side == "plain" else len(sides[side].train_dataloader())
                before = cpu_seconds()
                seconds, images, seen = one_epoch(batches, length, memory=repeat == 0)
                costs[side].append((cpu_seconds() - before) / images)
                rates[side].append(images / seconds)
                memory = memory | ({side: seen} if seen else {})
                text = f"{images / seconds:,.0f} images a second, {1000 * costs[side][-1]:.2f} ms of CPU time each"
                print(f"{side}: {text} {seen or ''}", flush=True)
    found |= {
        "images": given.images, "bytes": size, "side": SIDE, "workers": given.workers, "batch_size": given.batch,
        "repeats": given.repeats, "images_a_second": {side: statistics.median(all_) for side, all_ in rates.items()},
        "ratio": {
            side: [own / by_hand for own, by_hand in zip(rates[side], rates["plain"], strict=True)] for side in sides
        },
        "cpu_ratio": {
            side: [by_hand / own for own, by_hand in zip(costs[side], costs["plain"], strict=True)] for side in sides
        },
        "memory_mb": memory, "torch": torch.__version__.split("+")[0],
    }  # fmt: skip
    known = {part: stored[part] for part in ("allocator", "throughput", "texts") if part in stored}
    write_json(given.output, portable({**found, **known}))
    print(found)


if __name__ == "__main__":
    main()
