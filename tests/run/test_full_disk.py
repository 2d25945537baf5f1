"""A disk that becomes full during a run: one sentence, intact files, and a run that can be resumed."""

import errno
import os
from pathlib import Path

import pytest

import tl_lab
from tests.killing import contents, differing
from tl_lab.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SMALL = ["data=digits", "data.labels=100", "backbone=mlp", "backbone.hidden=[8]", "trainer.max_epochs=2"]
SMALL += ["logger=none", "figures=false"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return contents(tl_lab.run([*SMALL, f"hydra.run.dir={tmp_path_factory.mktemp('unbroken') / 'run'}"]).folder)


@pytest.mark.parametrize(("writes", "name"), [(4, "best.ckpt"), (7, "last.ckpt"), (10, "results.json")])
def test_a_disk_that_fills_up(writes: int, name: str, unbroken: dict, tmp_path: Path, monkeypatch) -> None:
    left, flush = writes, os.fsync

    def full(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(file)

    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match=rf"Cannot write \S*{name}: no space left on device; .*free some space"):
            tl_lab.run([*SMALL, f"hydra.run.dir={folder}"])
    assert left < 0
    assert [path for path in folder.rglob(".*") if path.name != ".hydra"] == []  # no half a file
    tl_lab.run([f"resume={folder}"])
    assert differing(unbroken, contents(folder)) == []
