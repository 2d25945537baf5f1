"""Starts of the program without the time for imports: forked from the process of the tests."""

import functools
import importlib
import multiprocessing.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import tl_lab.run.experiment  # noqa: F401  (what takes seconds, imported before the fork)
from tl_lab.cli.main import main as tl_lab_main
from tl_lab.cli.train import main as train
from tl_lab.run.parallel import free_port

__all__ = ["Start", "command", "two_processes"]

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {str(ROOT / "train.py"): train, str(ROOT / "tl_lab" / "__main__.py"): tl_lab_main}
"""What ``python train.py`` and ``python -m tl_lab`` call, by the name that the process has of them."""
TRAIN, TL_LAB = PROGRAMS


class Start:
    """``python train.py <argv>`` as a forked process, with the part of ``subprocess.Popen`` that tests need.

    Or ``python -m tl_lab <argv>``.

    It has its own standard streams, signal handlers and environment, can be killed, and ends without the clean-up of
    the tests' process. Where the start itself is tested (imports, time, arguments of further processes), start
    Python.

    Args:
        argv: arguments of the command line.
        output: file that takes standard output; standard error goes to the file beside it that ends in ``.err``.
        environment: variables to add to those of this process.
        dies_at: ``module:Class.function`` at whose first call the process kills itself.
        program: :data:`TRAIN` or :data:`TL_LAB`.
        cwd: folder in which the process starts.
        prepare: called in the process before it is the program.

    Attributes:
        pid: number of the process.
        returncode: exit code, minus the signal's number where one ended it; ``None`` while it runs.
    """

    def __init__(
        self,
        *argv: str,
        output: Path,
        environment: Mapping[str, str] | None = None,
        dies_at: str | None = None,
        program: str = TRAIN,
        cwd: Path | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.output = output
        for path in (output, _errors(output)):
            path.touch()
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            multiprocessing.util._run_after_forkers()  # as in a process of multiprocessing: workers pass files to it
            if dies_at is not None:
                _die_at(dies_at)
            if prepare is not None:
                prepare()
            _live(program, argv, output, environment or {}, cwd or Path.cwd())

    def poll(self) -> int | None:
        """Return the exit code, or ``None`` while the process runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout_s: float = 400) -> int:
        """Wait for the end; a process that takes longer is killed, and is an error."""
        deadline = time.monotonic() + timeout_s
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise subprocess.TimeoutExpired(["train.py"], timeout_s, self.printed)
            time.sleep(0.01)
        return code

    def kill(self) -> None:
        """End the process with SIGKILL, and take its exit code."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def errors(self) -> str:
        """What it has written to standard error."""
        return _errors(self.output).read_text(errors="replace")

    @property
    def printed(self) -> str:
        """What it has written to standard output, and then to standard error."""
        return self.output.read_text(errors="replace") + self.errors


def command(*argv: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Let a forked ``python -m tl_lab <argv>`` run to its end in a folder; return what it has written."""
    with tempfile.TemporaryDirectory() as folder:
        start = Start(
            *map(str, argv), output=Path(folder) / "output.txt", environment=environment, program=TL_LAB, cwd=cwd
        )
        code = start.wait()
        output = start.output.read_text(errors="replace")
        return subprocess.CompletedProcess(["tl_lab", *map(str, argv)], code, output, start.errors)


def two_processes(*argv: str, folder: Path, trainer: str = "ddp_cpu") -> None:
    """Run with a trainer of two processes on the CPU, both forked: they meet as under a launcher that starts them all.

    Lightning's own launcher starts the second one by the command line, with its imports; tests that look at that
    start use it.
    """
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    given = [*argv, f"trainer={trainer}", f"hydra.run.dir={folder}"]
    own = [[], ["hydra.output_subdir=null", "hydra.job.name=train_ddp_process_1"]]
    starts = [
        Start(
            *given,
            *own[rank],
            output=folder.with_name(f"{folder.name}_{rank}.txt"),
            environment=meeting | {"LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        for start in starts:
            assert start.wait() == 0, start.printed
    finally:
        for start in starts:
            start.kill()


def _die_at(place: str) -> None:
    """Let this process kill itself, as ``kill -9`` would, when a method is called."""
    module, _, path = place.partition(":")
    owner, _, name = path.rpartition(".")
    kind = functools.reduce(getattr, owner.split("."), importlib.import_module(module))
    setattr(kind, name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))


def _live(program: str, argv: tuple[str, ...], output: Path, environment: Mapping[str, str], cwd: Path) -> NoReturn:
    """Be the program; never return to the tests."""
    code = 1
    try:
        _make_own(output, environment)
        os.chdir(cwd)
        sys.argv[:] = [program, *argv]
        PROGRAMS[program](list(argv))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _errors(output: Path) -> Path:
    return output.with_name(f"{output.name}.err")


def _make_own(output: Path, environment: Mapping[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, path in ((1, output), (2, _errors(output))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.update(environment)
    from lightning_utilities.core.rank_zero import rank_zero_only

    rank_zero_only.rank = int(os.environ.get("LOCAL_RANK", "0"))  # else read when it was imported
