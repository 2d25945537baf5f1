"""Data read during training: the same batches as from memory, for any number of workers, and the waiting time."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.data.inputs.augmentation import Augmentation
from tl_lab.data.inputs.compact import Strings
from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.operations import tensors
from tl_lab.data.inputs.tokenisers import Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.data.loaders import BatchOrder, Loader, PairLoader
from tl_lab.data.samples import Samples
from tl_lab.data.sets.audio_folder import AudioFolder
from tl_lab.data.sets.image_folder import ImageFolder
from tl_lab.data.sets.text_table import TextTable
from tl_lab.data.waiting import Waiting, advised_workers
from tl_lab.errors import UserError
from tl_lab.run.reporting import _time_line, data_wait

_WORDS = ("good", "bad", "film", "plot", "very")
_TOKENS = TokenSpec(len(_WORDS) + 2, 12, tokeniser=Words(_WORDS))
_SPLIT = {"val_share": 0.25, "test_share": 0.25}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(12):
            Image.fromarray(draw.integers(0, 256, (9, 9, 3), np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp("recordings"), np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(8):
            samples = draw.integers(-(2**12), 2**12, 800 + 160 * i).astype(np.int16)
            wavfile.write(root / name / f"{i}.wav", 8000, samples)
    return root


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, draw = tmp_path_factory.mktemp("table") / "texts.csv", np.random.default_rng(0)
    rows = [(" ".join(draw.choice(_WORDS, 2 + i % 9)), "ab"[i % 2]) for i in range(24)]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def _loaded(data: DataModule, spec) -> DataModule:
    data.load()
    data.use(spec)
    return data


def _first_epochs(data: DataModule, epochs=(0, 1)):
    loader = data.train_dataloader()
    for epoch in epochs:
        loader.set_epoch(epoch)
        yield from loader


def _same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one.x), tensors(other.x), strict=True)) and torch.equal(
        one.y, other.y
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["images", "recordings", "texts"])
def test_batches_read_as_needed_are_those_from_memory(kind, images, recordings, table) -> None:
    def build(lazy: bool) -> DataModule:
        options = {"lazy": lazy, "batch_size": 4, **_SPLIT}
        if kind == "images":
            return _loaded(ImageFolder(root=str(images), **options), ImageSpec((8, 8), 3, (0.5,) * 3, (0.2,) * 3))
        if kind == "recordings":
            return _loaded(AudioFolder(path=str(recordings), length_buckets=False, **options), AudioSpec(8000))
        return _loaded(TextTable(path=str(table), length_buckets=False, **options), _TOKENS)

    lazy, memory = build(True), build(False)
    assert (lazy.read_as_needed, memory.read_as_needed) == (True, False)
    assert lazy.fingerprint() == memory.fingerprint()
    pairs = list(zip(_first_epochs(lazy), _first_epochs(memory), strict=True))
    assert len(pairs) >= 4
    assert all(_same(*pair) for pair in pairs)
    assert lazy.waiting.share is not None
    assert memory.waiting.share is not None
    assert list(data_wait(lazy)) == ["data_wait"]
    assert data_wait(memory) == {}


def test_augmented_batches_are_the_same_by_any_number_of_workers_and_after_a_resume(images: Path) -> None:
    def build(workers: int) -> DataModule:
        augmentation = Augmentation(rotation=20, noise=0.1)
        data = ImageFolder(
            root=str(images), lazy=True, batch_size=4, workers=workers, augmentation=augmentation, **_SPLIT
        )
        return _loaded(data, ImageSpec((8, 8), 3))

    alone, helped = list(_first_epochs(build(0))), list(_first_epochs(build(2)))
    assert all(_same(*pair) for pair in zip(alone, helped, strict=True))
    resumed = list(_first_epochs(build(0), epochs=(1,)))
    assert all(_same(*pair) for pair in zip(alone[-len(resumed) :], resumed, strict=True))
    assert not torch.equal(alone[0].x, alone[1].x)


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_draws_no_random_numbers_of_the_networks(workers: int, images: Path) -> None:
    """Dropout draws the same numbers whether data are read during training or are in memory."""
    data = ImageFolder(root=str(images), lazy=True, batch_size=4, workers=workers, **_SPLIT)
    _loaded(data, ImageSpec((8, 8), 3))
    before = torch.get_rng_state()
    assert len(list(_first_epochs(data))) >= 4
    assert torch.equal(torch.get_rng_state(), before)


def test_data_that_are_in_memory_as_they_come_cannot_be_read_as_needed() -> None:
    from tests.laboratory import Blobs

    with pytest.raises(UserError, match="lazy=true: these data are always in memory"):
        _loaded(Blobs(lazy=True), ImageSpec((6, 6), 1))


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_share_of_time_that_training_waits() -> None:
    """Three batches of 3 s each, whose steps take 1 s, and a second to find out that there are no more: 10 of 13 s."""
    clock = _Clock()
    waiting = Waiting(clock)

    def batches():
        for number in range(3):
            clock.now += 3
            yield number
        clock.now += 1

    for _ in waiting.timed(batches()):
        clock.now += 1
    assert (waiting.seconds, waiting.of_seconds) == (10, 13)
    clock.now += 100  # validation
    for _ in zip(waiting.timed(batches()), waiting.timed(batches()), strict=True):  # a pair of domains
        clock.now += 1
    assert (waiting.seconds, waiting.of_seconds) == (10 + 20, 13 + 23)


class _Slow(Loader):
    """Batches that take 3 s each on a clock of its own."""

    clock: _Clock

    def _cut(self, inputs):
        for batch in super()._cut(inputs):
            self.clock.now += 3
            yield batch


def test_waiting_is_measured_in_memory_too() -> None:
    """Four batches of 3 s each, whose steps take 1 s: 12 of 16 s; a pair of domains waits for both."""
    samples = Samples(torch.zeros(8, 3), torch.zeros(8, dtype=torch.long))
    clock = _Clock()
    waiting = Waiting(clock)

    def loader() -> _Slow:
        slow = _Slow(samples, BatchOrder(8, 2, shuffle=True), waiting=waiting)
        slow.clock = clock
        return slow

    for _ in loader():
        clock.now += 1
    assert (waiting.seconds, waiting.of_seconds) == (12, 16)
    for _ in PairLoader(loader(), loader()):
        clock.now += 1
    assert (waiting.seconds, waiting.of_seconds) == (12 + 24, 16 + 28)


def test_the_last_lines_of_a_run_state_the_share() -> None:
    waiting = Waiting()
    waiting.seconds, waiting.of_seconds = 3.0, 100.0
    assert _time_line({"duration_s": 187.2}, waiting) == "3 min 7 s; data-bound: 3 % of training"
    assert _time_line({"duration_s": 4.2}, Waiting()) == "4.2 s", "nothing was trained"
    assert _time_line({"duration_s": 4.2}, None) == "4.2 s", "a finished run is shown again"
    stored = {"duration_s": 4.2, "data_wait": {"share": 0.61}}
    assert _time_line(stored, None) == "4.2 s; data-bound: 61 % of training"


@pytest.mark.parametrize(
    ("share", "workers", "cores", "advised"),
    [
        (0.05, 2, 16, None),  # hardly waited
        (0.5, 0, 16, 1),  # reading takes as long as computing: one worker does it beside
        (0.75, 0, 16, 3),
        (0.5, 2, 16, 4),
        (0.61, 2, 16, 6),
        (0.61, 2, 4, 4),
        (0.61, 4, 4, None),
        (1.0, 2, 8, 8),
    ],
)
def test_as_many_workers_are_advised_as_read_while_training_computes(share, workers, cores, advised) -> None:
    assert advised_workers(share, workers, cores) == advised


def test_the_share_is_reported_with_what_to_do() -> None:
    waiting = Waiting()
    assert waiting.report(2, 8) == ""
    waiting.seconds, waiting.of_seconds = 61.0, 100.0
    assert waiting.report(2, 16) == "data-bound: training waited for data 61 % of its time; try data.workers=6"
    assert waiting.report(2, 2).endswith("61 % of its time; there are already as many workers as cores (2)")
    waiting.seconds = 3.0
    assert waiting.report(2, 16) == "data-bound: training waited for data 3 % of its time"


def test_the_share_is_reported_on_systems_that_do_not_tell_the_cores_of_a_process(images, monkeypatch) -> None:
    """As macOS."""
    data = _loaded(ImageFolder(root=str(images), lazy=True, batch_size=4, **_SPLIT), ImageSpec((8, 8), 3))
    data.waiting.seconds, data.waiting.of_seconds = 61.0, 100.0
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    found = data_wait(data)["data_wait"]
    assert (found["share"], found["said"].partition("; ")[2]) == (0.61, "try data.workers=2")


def test_strings_in_one_piece_of_memory_read_like_a_list() -> None:
    items = ["", "a/b.png", "é.jpg", b"\xe9".decode("utf-8", "surrogateescape"), "z"]
    strings = Strings(items)
    assert list(strings) == items
    assert strings == items
    assert (strings[-1], strings[1:3], len(strings)) == ("z", items[1:3], 5)
    with pytest.raises(IndexError):
        strings[5]
