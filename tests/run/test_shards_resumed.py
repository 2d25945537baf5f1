"""A run on tar shards that is killed within an epoch, at its last batch, or while its checkpoint is written.

Once resumed, it ends like a run that was never killed, to the last bit: each of its samples is read in the same place.
"""

import io
import os
import re
import signal
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from killing import contents, differing, run_with_kills
from PIL import Image
from program_starts import Start

from tl_lab.training.step import Step

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SMALL = ["logger=none", "figures=false", "threads=1", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"]
READ = ["data=webdataset", "data.lazy=true", "data.workers=2", "data.size=12", "data.batch_size=4"]
LEARNER = ["backbone=mlp", "backbone.hidden=[8]", "augmentation=characters"]
BATCHES = 7  # of an epoch


@pytest.fixture(autouse=True, scope="module")
def library() -> Iterator[None]:
    """Give the published rule for names, on machines without the library."""
    if "webdataset" in sys.modules or _installed():
        yield
        return
    tar = ModuleType("webdataset.tariterators")
    tar.base_plus_ext = lambda path: (  # type: ignore[attr-defined]
        (found[1], found[2]) if (found := re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", path)) else (None, None)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "webdataset", ModuleType("webdataset"))
        patch.setitem(sys.modules, "webdataset.tariterators", tar)
        yield


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 40 images in two shards: 28 for training, by the default shares."""
    folder, draw = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    for shard in range(2):
        with tarfile.open(folder / f"all-{shard}.tar", "w") as archive:
            for number in range(20):
                file = io.BytesIO()
                Image.fromarray(draw.integers(0, 256, (12, 12, 3), np.uint8)).save(file, "png")
                for ending, content in (("png", file.getvalue()), ("cls", str(number % 2).encode())):
                    info = tarfile.TarInfo(f"{shard}{number:03}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return folder


@pytest.fixture(scope="module")
def unbroken(library: None, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run without a kill; return the content of its folder."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert run_with_kills(folder, _overrides(shards), []) == 0
    return contents(folder)


def _installed() -> bool:
    import importlib.util

    return importlib.util.find_spec("webdataset") is not None


def _overrides(shards: Path) -> list[str]:
    return [*READ, f"data.root={shards}", *LEARNER, *SMALL]


def _dies_in_epoch(epoch: int, batch: int) -> None:
    """Let this process kill itself after the update on a batch."""
    original = Step.train_on

    def train_on(self: Step, *given: Any, **options: Any) -> None:
        original(self, *given, **options)
        if (self.current_epoch, given[1]) == (epoch, batch):
            assert self.trainer.num_training_batches == BATCHES
            os.kill(os.getpid(), signal.SIGKILL)

    Step.train_on = train_on  # type: ignore[method-assign]


@pytest.mark.slow
@pytest.mark.parametrize(("epoch", "batch"), [(1, 2), (0, BATCHES - 1)])
def test_a_run_killed_in_or_at_the_end_of_an_epoch(epoch, batch, shards, unbroken, tmp_path) -> None:
    folder = tmp_path / "killed"
    start = Start(
        *_overrides(shards),
        f"hydra.run.dir={folder}",
        output=tmp_path / "killed.txt",
        prepare=lambda: _dies_in_epoch(epoch, batch),
    )
    assert start.wait() == -signal.SIGKILL, start.printed
    assert run_with_kills(folder, _overrides(shards), []) == 0
    assert differing(unbroken, contents(folder)) == []


@pytest.mark.slow
def test_a_run_killed_while_it_writes_its_checkpoints(shards, unbroken, tmp_path) -> None:
    kills = [(number, whole) for number in (4, 5) for whole in (False, True)]
    assert run_with_kills(tmp_path / "killed", _overrides(shards), kills) == len(kills)
    assert differing(unbroken, contents(tmp_path / "killed")) == []
