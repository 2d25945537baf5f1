"""Locks on folders: one process at a time, and nothing is locked once that process has ended."""

import os
import signal
import time
from pathlib import Path

import pytest

from tl_lab.errors import UserError
from tl_lab.results.folder.lock import held


def _forked(work) -> int:
    """Fork a process that does some work and ends; return its number."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def _appears(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_process_holds_the_lock_and_may_take_it_again(tmp_path: Path) -> None:
    def try_it() -> None:
        try:
            with held(tmp_path):
                (tmp_path / "got_it").touch()
        except UserError as error:
            (tmp_path / "refused").write_text(str(error))

    with held(tmp_path), held(tmp_path):
        os.waitpid(_forked(try_it), 0)
    assert "another process is working in" in (tmp_path / "refused").read_text()
    os.waitpid(_forked(try_it), 0)
    assert (tmp_path / "got_it").exists()


def test_workers_that_outlive_a_killed_process_do_not_hold_its_lock(tmp_path: Path) -> None:
    def run_with_a_worker() -> None:
        with held(tmp_path):
            worker = _forked(lambda: time.sleep(60))
            (tmp_path / "half").write_text(str(worker))
            (tmp_path / "half").rename(tmp_path / "worker")
            time.sleep(60)

    run = _forked(run_with_a_worker)
    _appears(tmp_path / "worker")
    with pytest.raises(UserError, match="another process"), held(tmp_path):
        pass
    os.kill(run, signal.SIGKILL)
    os.waitpid(run, 0)
    worker = int((tmp_path / "worker").read_text())
    os.kill(worker, 0)  # is alive
    try:
        with held(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_forked_process_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    with held(tmp_path):
        os.waitpid(_forked(lambda: None), 0)
        other = os.fork()
        if other == 0:
            try:
                with held(tmp_path):
                    os._exit(1)
            except UserError:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0
