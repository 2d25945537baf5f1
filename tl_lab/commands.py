"""How the program was started, so that the commands it prints can be pasted."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["command", "train"]


def train(*words: str) -> str:
    """Write the command that starts a run.

    Args:
        words: its arguments, which are quoted for a shell where they need it.

    Returns:
        ``python train.py ...``, ``tl-lab train ...`` or ``python -m tl_lab train ...``, with ``uv run`` before it where
        the program was started by uv.
    """
    script = Path(sys.argv[0])
    if script.name == "train.py":
        return _joined([*_python(), _short(script)], words)
    return _joined([*_program(), "train"], words)


def command(*words: str) -> str:
    """Write a command of the program: ``python -m tl_lab list``, or ``tl-lab list``."""
    return _joined(_program(), words)


def _program() -> list[str]:
    if Path(sys.argv[0]).name in ("tl-lab", "tl-lab.exe"):
        return [*_uv(), "tl-lab"]
    return [*_python(), "-m", "tl_lab"]


def _python() -> list[str]:
    return [*_uv(), "python"]


def _uv() -> list[str]:
    return ["uv", "run"] if "UV" in os.environ else []


def _short(path: Path) -> str:
    """Name a file below the current folder the way a user would."""
    where = Path.cwd()
    whole = path.absolute()
    return str(whole.relative_to(where)) if whole.is_relative_to(where) else str(whole)


def _joined(start: Sequence[str], words: Sequence[str]) -> str:
    return shlex.join([*start, *words])
