"""Runs functions in forked processes, which share this process's imports but cannot change its state."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, cast

__all__ = ["Child", "die_with_parent", "wait_for_any"]

_PATIENCE_S = 15.0
"""Time that an interrupted job has to write its results."""
_KILLED_FIRST = 500
"""``oom_score_adj`` of a job, so that the system kills the job rather than the sweep if memory runs out."""
_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


class Child:
    """Run ``function()`` in a forked process.

    The process leads its own process group, which is ended as a whole, and it ends when this process ends for any
    reason. Fork from the main thread only, and before PyTorch has started threads or CUDA.

    Args:
        function: function to run; its return value must be picklable. Its argument is a function that sends a message
            to this process (see :attr:`message`).
    """

    def __init__(self, function: Callable[[Callable[[Any], None]], Any]) -> None:
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # otherwise, buffered output would be written twice
                stream.flush()
        self._process = context.Process(target=_live, args=(function, sender, os.getpid()))
        self._process.start()
        sender.close()
        self.began = time.monotonic()
        self.message: Any = None
        self.value: Any = None
        self.returned = False
        self.overdue = ""
        self._speaks = True

    def ended(self) -> bool:
        """Receive the messages of the process, and return whether it has ended."""
        alive = (
            self._process.is_alive()
        )  # checked before reading, so that all messages of an ended process are in the pipe
        try:
            while self._speaks and self._receiver.poll():
                kind, content = self._receiver.recv()
                if kind == "message":
                    self.message = content
                else:
                    self.value, self.returned = content, True
        except (EOFError, OSError):
            self._speaks = False
        if alive:
            return False
        self._process.join()
        return True

    def limit(self, seconds: float | None, name: str) -> None:
        """End the process if it exceeds the time limit: first interrupt it, as Ctrl-C does, then kill it.

        Args:
            seconds: time limit; None for no limit.
            name: name of the setting, for the message.
        """
        lived = time.monotonic() - self.began
        if seconds is None or lived <= seconds:
            return
        if not self.overdue:
            self.overdue = f"the job took longer than {name}={seconds:g} s, and was ended"
            self.interrupt()
        elif lived > seconds + _PATIENCE_S:
            self._signal(signal.SIGKILL)

    @property
    def death(self) -> str | None:
        """Description of an abnormal end of the process, as part of a sentence; None if it ended normally."""
        if self.overdue and not self.returned:
            return self.overdue
        code = self._process.exitcode
        if self.returned or code is None:
            return None
        if code >= 0:
            return f"the job's process ended with exit code {code} before it could report a reason"
        name = signal.Signals(-code).name
        why = " (out of memory, or killed manually)" if name == "SIGKILL" else ""
        return f"the job's process was killed by {name}{why}"

    def interrupt(self) -> None:
        """Interrupt the process and all its descendants."""
        self._signal(signal.SIGINT)

    def stop(self) -> None:
        """Wait for an interrupted process, kill it if it takes too long, and receive its messages."""
        self._process.join(_PATIENCE_S)
        self._signal(signal.SIGKILL)
        self._process.join()
        self.ended()

    def close(self) -> None:
        """Release the resources held for the process, and end its remaining descendants."""
        self._signal(signal.SIGKILL)
        self._receiver.close()
        self._process.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(cast(int, self._process.pid), number)

    @property
    def waits_on(self) -> list[Any]:
        """Objects that become readable when the process sends a message or ends."""
        return [*([self._receiver] if self._speaks else []), self._process.sentinel]


def wait_for_any(children: Sequence[Child], timeout_s: float) -> None:
    """Wait until a process sends a message or ends, for at most ``timeout_s`` seconds."""
    multiprocessing.connection.wait([thing for child in children for thing in child.waits_on], timeout_s)


def die_with_parent(parent: int) -> None:
    """Make the system kill this process when its parent process ends."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the signal was set
        os.kill(os.getpid(), signal.SIGKILL)


def _live(
    function: Callable[[Callable[[Any], None]], Any], sender: multiprocessing.connection.Connection, parent: int
) -> None:
    os.setpgid(0, 0)
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(str(_KILLED_FIRST))
    code = 1
    try:
        value = function(lambda content: sender.send(("message", content)))
        sender.send(("value", value))
        code = 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)  # remaining threads would keep the process alive, and the sweep would wait for it forever
