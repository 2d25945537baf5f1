"""Settings of all tests."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_PROCESSES = 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share whole folders of tests between two processes, unless options say otherwise (-n0: one process).

    Each takes one half, in the order of the files, so that fixtures of a module are made once, and what is left of the
    other's half when it has done its own. Options of the command line in pyproject.toml would be errors without
    pytest-xdist.
    """
    if hasattr(config, "workerinput") or not config.pluginmanager.hasplugin("xdist"):
        return
    options = config.option
    undecided = options.numprocesses is None and options.dist == "no" and not (options.tx or options.usepdb)
    if undecided and not options.collectonly and any(Path(arg).is_dir() for arg in config.args):
        options.numprocesses, options.dist = _PROCESSES, "worksteal"


def pytest_configure(config: pytest.Config) -> None:
    """Prepare a process that runs tests; the one that only shares them out does without what takes long to import."""
    if not hasattr(config, "workerinput") and config.getoption("numprocesses", None):
        return
    import composing
    import torch

    # as a run has by default; on tensors this small, threads that wait for each other cost more than they bring, and
    # on a machine that is busy otherwise a hundred times more
    torch.set_num_threads(1)
    os.environ.pop("COLUMNS", None)  # the width of plain text
    composing.remember()
    # a run flushes each of its files to the disk, against power cuts; no test cuts the power, and a killed process
    # loses nothing that it has written
    os.fsync = lambda fd: None


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what is imported by now, which lives as long as the process.

    Otherwise each of its full passes goes through all modules and tests: 5 % of the time that the tests take.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Undo what a test leaves in the environment.

    Lightning stores there where the processes of a distributed run meet, and the rank of this one: a later run of
    several processes would wait for a partner that is never started.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(before)


def pytest_sessionfinish() -> None:
    """Give everything back to the collector: libraries report what is alive at the end as leaks."""
    gc.unfreeze()
