"""A run on a table that is read part by part, killed while the cache is written or an update is made.

Once resumed, it ends like a run that was never killed, to the last bit, and like a run that reads the whole table.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from killing import contents, differing, run_with_kills
from program_starts import Start

from tl_lab.data.cache import CACHE_VARIABLE
from tl_lab.data.inputs.stored_texts import RowsWriter
from tl_lab.training.step import Step

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")]

WORDS = ["warm", "cold", "day", "night"]
SMALL = ["logger=none", "figures=false", "threads=1", "trainer.enable_progress_bar=false", "trainer.max_epochs=2"]
READ = ["data=text_table", "data.workers=2", "data.batch_size=8", "strategy=fine_tuning", "domain_adaptation=none"]
BATCHES = 7  # of an epoch


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 80 texts, 56 for training by the default shares, and word vectors."""
    folder, draw = tmp_path_factory.mktemp("texts"), np.random.default_rng(0)
    rows = [f"{' '.join(draw.choice(WORDS, 1 + number % 6))} {number},{'ab'[number % 2]}" for number in range(80)]
    (folder / "texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    vectors = (f"{word} {' '.join(f'{value:.3f}' for value in draw.normal(size=5))}\n" for word in WORDS)
    (folder / "vectors.txt").write_text("".join(vectors))
    return folder


@pytest.fixture(scope="module")
def unbroken(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run without a kill; return the run's folder."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        assert run_with_kills(folder / "run", _overrides(files), []) == 0
        yield folder / "run"


def _overrides(files: Path, lazy: bool = True) -> list[str]:
    own = [f"data.path={files / 'texts.csv'}", f"backbone.weights={files / 'vectors.txt'}", f"data.lazy={lazy}"]
    return [*READ, *own, "backbone=lstm", "backbone.hidden=4", *SMALL]


def _dies_at_update(number: int) -> None:
    """Let this process kill itself after the update on a batch of the second epoch."""
    original = Step.train_on

    def train_on(self: Step, *given: Any, **options: Any) -> None:
        original(self, *given, **options)
        if (self.current_epoch, given[1]) == (1, number):
            assert self.trainer.num_training_batches == BATCHES
            os.kill(os.getpid(), signal.SIGKILL)

    Step.train_on = train_on  # type: ignore[method-assign]


def _dies_at_rows(name: str) -> None:
    """Let this process kill itself when a file of the cache is half written."""
    original = RowsWriter.add

    def add(self: RowsWriter, rows: Any) -> None:
        original(self, rows[: len(rows) // 2])
        if self.path.name == name:
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        original(self, rows[len(rows) // 2 :])

    RowsWriter.add = add  # type: ignore[method-assign]


@pytest.mark.parametrize("name", ["texts", "ids"])
def test_a_run_killed_while_its_cache_is_written(name: str, files: Path, unbroken: Path, tmp_path: Path) -> None:
    folder, given = tmp_path / "killed", _overrides(files)
    start = Start(
        *given, f"hydra.run.dir={folder}", output=tmp_path / "killed.txt", prepare=lambda: _dies_at_rows(name)
    )
    assert start.wait() == -signal.SIGKILL, start.printed
    assert len([*(tmp_path / "cache").glob("*.part")]) == 1
    assert run_with_kills(folder, given, []) == 0
    assert differing(contents(unbroken), contents(folder)) == []
    assert [*(tmp_path / "cache").glob("*.part")] == []


def test_a_run_killed_within_an_epoch(files: Path, unbroken: Path, tmp_path: Path) -> None:
    folder, given = tmp_path / "killed", _overrides(files)
    start = Start(*given, f"hydra.run.dir={folder}", output=tmp_path / "killed.txt", prepare=lambda: _dies_at_update(2))
    assert start.wait() == -signal.SIGKILL, start.printed
    assert run_with_kills(folder, given, []) == 0
    assert differing(contents(unbroken), contents(folder)) == []


def test_a_run_on_the_whole_table_learns_the_same(files: Path, unbroken: Path, tmp_path: Path) -> None:
    assert run_with_kills(tmp_path / "whole", _overrides(files, lazy=False), []) == 0
    assert (tmp_path / "whole" / "metrics.csv").read_text() == (unbroken / "metrics.csv").read_text()
    one, other = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (unbroken, tmp_path / "whole")
    )
    assert [*one] == [*other]
    assert all(torch.equal(one[name], other[name]) for name in one)
