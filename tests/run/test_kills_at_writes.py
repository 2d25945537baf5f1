"""Runs killed repeatedly during writes end like uninterrupted ones, with identical folders.

Each process dies at one of its writes, before or after the file has its name, and the next one goes on; all writes of
all strategies and scenarios are tried by ``benchmarks/reliability.py``.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import pytest
from killing import contents, count_writes, differing, run_with_kills

from tl_lab.config import choices
from tl_lab.results.folder.files import remove_leftovers, replacing, write_text
from tl_lab.sweeps.processes import Child, wait_for_any

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SMALL = ["logger=none", "figures=false", "threads=1", "trainer.enable_progress_bar=false"]
SMALL += ["backbone=mlp", "backbone.hidden=[8]", "data.batches_per_epoch=2", "trainer.max_epochs=1"]
STREAM = ["data=split_digits", "data.num_tasks=2", "data.scenario=class", "strategy=ewc", "strategy.fisher.samples=20"]


KILLS = [(2, False), (4, True), (5, False), (6, True), (8, False)]


@pytest.mark.slow
def test_a_stream_that_is_killed_again_and_again(tmp_path: Path) -> None:
    assert count_writes(tmp_path / "unbroken", [*STREAM, *SMALL]) >= 10
    unbroken = contents(tmp_path / "unbroken")
    assert {"config.yaml", "results.json", "metrics.csv", "checkpoints/last.ckpt"} < set(unbroken)
    assert run_with_kills(tmp_path / "killed", [*STREAM, *SMALL], KILLS) == len(KILLS)
    assert differing(unbroken, contents(tmp_path / "killed")) == []


def test_every_strategy_and_adaptation_is_among_the_cases_of_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmarks = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.setattr(sys, "path", [str(benchmarks), *sys.path])
    cases = runpy.run_path(str(benchmarks / "reliability.py"))["cases"]()
    tried = {override for overrides in cases.values() for override in overrides}
    named = {f"{group}={name}" for group in ("strategy", "domain_adaptation") for name in choices(group)[group]}
    other_options_of_one_method = {f"domain_adaptation={name}" for name in ("auto", "source_only")}
    other_options_of_one_method |= {f"domain_adaptation=dann_{kind}" for kind in ("paper", "shallow")}
    assert {name for name in named if "/" not in name} - tried == other_options_of_one_method


# ---------------------------------------------------------------------- temporary files


def killed_while_writing(path: Path) -> None:
    """Leave what a process leaves that dies before its file has its name."""

    def write(tell: object) -> None:
        Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign, assignment]
        write_text(path, "half")

    child = Child(write)
    while not child.ended():
        wait_for_any([child], 1.0)
    child.close()


def test_temporary_files_of_killed_processes_are_removed_by_the_next(tmp_path: Path) -> None:
    for name in ("results.json", "figures/curves.png"):
        killed_while_writing(tmp_path / name)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 2
    assert all(path.name.startswith(".") for path in left)
    write_text(tmp_path / "results.json", "whole")  # its own leftover goes with the next write of the same file
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["results.json"]
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["results.json"]


def test_files_of_living_processes_and_of_others_stay(tmp_path: Path) -> None:
    with replacing(tmp_path / "results.json") as beside:
        machine = beside.name.partition("-")[2][:8]
        dead, random = 2**22 + 1, "0123abcd"  # above the largest number of a process
        kept = [beside.name, ".hidden-file", f"a.{dead}-{machine}{random}.json", ".gitignore", ".a.1-x.json"]
        others = f".results.{dead}-00000000{random}.json"  # of another machine, which may share the folder
        for name in [*kept, others, f".results.{dead}-{machine}{random}.json"]:
            (tmp_path / name).touch()
        remove_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, others])
        yesterday = time.time() - 25 * 3600
        os.utime(tmp_path / others, (yesterday, yesterday))
        remove_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
