"""A function in a process of its own, forked from this one: it shares the imports, and nothing that it does."""

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
"""How long an interrupted job may take to write what it has."""
_KILLED_FIRST = 500
"""Where memory runs out the system ends the job, and not the sweep."""
_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


class Child:
    """Run ``function()`` in a forked process.

    The process leads a group of its own, which is ended as a whole, and dies with this process, however this one
    ends. Fork from the main thread only, and before PyTorch has started threads or CUDA.

    Args:
        function: what to run; what it returns must be picklable. It may call :meth:`tell` of what it is given.
    """

    def __init__(self, function: Callable[[Callable[[Any], None]], Any]) -> None:
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # what is left in a buffer would be written twice
                stream.flush()
        self._process = context.Process(target=_live, args=(function, sender, os.getpid()))
        self._process.start()
        sender.close()
        self.began = time.monotonic()
        self.told: Any = None
        self.value: Any = None
        self.returned = False
        self.overdue = ""
        self._speaks = True

    def ended(self) -> bool:
        """Take what the process has said, and tell whether it has ended."""
        alive = self._process.is_alive()  # asked first: what it says before its end is then in the pipe
        try:
            while self._speaks and self._receiver.poll():
                kind, content = self._receiver.recv()
                if kind == "told":
                    self.told = content
                else:
                    self.value, self.returned = content, True
        except (EOFError, OSError):
            self._speaks = False
        if alive:
            return False
        self._process.join()
        return True

    def limit(self, seconds: float | None, name: str) -> None:
        """End the process where it takes too long: first ask it to, as Ctrl-C would, then kill it.

        Args:
            seconds: that it may take; None for any time.
            name: of the setting, for the sentence that says so.
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
        """How the process ended where it did not return, as the end of a sentence."""
        if self.overdue and not self.returned:
            return self.overdue
        code = self._process.exitcode
        if self.returned or code is None:
            return None
        if code >= 0:
            return f"the job's process ended with exit code {code} before it could say why"
        name = signal.Signals(-code).name
        why = " (out of memory, or stopped by hand)" if name == "SIGKILL" else ""
        return f"the job's process was killed by {name}{why}"

    def interrupt(self) -> None:
        """Ask the process and all that it has started to end."""
        self._signal(signal.SIGINT)

    def stop(self) -> None:
        """Wait for an interrupted process, kill it where it takes too long, and take what it has said."""
        self._process.join(_PATIENCE_S)
        self._signal(signal.SIGKILL)
        self._process.join()
        self.ended()

    def close(self) -> None:
        """Give back what the process held in this one, and end what it has left behind."""
        self._signal(signal.SIGKILL)
        self._receiver.close()
        self._process.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(cast(int, self._process.pid), number)

    @property
    def waits_on(self) -> list[Any]:
        """What becomes readable when the process says something or ends."""
        return [*([self._receiver] if self._speaks else []), self._process.sentinel]


def wait_for_any(children: Sequence[Child], timeout_s: float) -> None:
    """Wait until one of them says something or ends, or the time is over."""
    multiprocessing.connection.wait([thing for child in children for thing in child.waits_on], timeout_s)


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when ``parent``, which started it, ends."""
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be asked for
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
        value = function(lambda content: sender.send(("told", content)))
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
        os._exit(code)  # a thread that is left would keep the process, and with it the sweep, alive for ever
