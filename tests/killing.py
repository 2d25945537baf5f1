"""Kills at chosen writes of a run, and the whole content of its folder for comparison."""

import functools
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from program_starts import Start

__all__ = ["contents", "count_writes", "differing", "run_with_kills"]

# what the clock, the process or the folder's name says; the log and Hydra's own record of the start say nothing else
_CLOCK = {"duration_s", "written", "folder", "data_wait"}
_LEFT_OUT = {"train.log", ".hydra/hydra.yaml", ".hydra/overrides.yaml", ".hydra/config.yaml"}


def run_with_kills(folder: Path, overrides: Sequence[str], kills: Sequence[tuple[int, bool]]) -> int:
    """Run to the end, killed again and again, each time going on as a user would.

    Args:
        folder: of the run.
        overrides: of the command line.
        kills: of each process in turn, at which of its writes it dies, and whether after the file has its name.

    Returns:
        Number of processes that died; one that makes fewer writes than that ends the run.
    """
    for number, (write, whole) in enumerate(kills):
        start = _start(folder, overrides, functools.partial(_die_at_write, write, whole))
        if (code := start.wait()) == 0:
            return number
        assert code == -signal.SIGKILL, start.printed
    start = _start(folder, overrides, None)
    assert start.wait() == 0, start.printed
    return len(kills)


def _start(folder: Path, overrides: Sequence[str], prepare: Callable[[], None] | None) -> Start:
    argv = [f"resume={folder}"] if (folder / "config.yaml").exists() else [*overrides, f"hydra.run.dir={folder}"]
    return Start(*argv, output=folder.parent / f"{folder.name}.txt", prepare=prepare)


def count_writes(folder: Path, overrides: Sequence[str]) -> int:
    """Run without a kill, and count the files that appear or are replaced."""
    counter = folder.parent / f"{folder.name}_writes"
    prepare = functools.partial(_count, counter)
    start = Start(*overrides, f"hydra.run.dir={folder}", output=folder.parent / f"{folder.name}.txt", prepare=prepare)
    assert start.wait() == 0, start.printed
    return len(counter.read_text())


def _die_at_write(number: int, whole: bool) -> None:
    """Let this process kill itself at a write: every file of a run gets its name by ``Path.replace``."""
    original, left = Path.replace, number

    def replace(self: Path, target: Any) -> Path:
        nonlocal left
        left -= 1
        if left == 0 and not whole:
            os.kill(os.getpid(), signal.SIGKILL)
        done = original(self, target)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    Path.replace = replace  # type: ignore[method-assign, assignment]


def _count(counter: Path) -> None:
    original = Path.replace

    def replace(self: Path, target: Any) -> Path:
        with counter.open("a") as file:
            file.write(".")
        return original(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]


# ---------------------------------------------------------------------- folders


def contents(folder: Path) -> dict[str, Any]:
    """Read everything that a run has left, without what the clock says: numbers, tables, figures, checkpoints."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and name not in _LEFT_OUT:
            found[name] = _content(path, folder)
    return found


def _content(path: Path, folder: Path) -> Any:
    if path.name == "results.json":
        content = json.loads(path.read_text().replace(str(folder), "<folder>"))
        (content.get("health") or {}).pop("seconds", None)  # what measuring it took
        return {key: value for key, value in content.items() if key not in _CLOCK}
    if path.suffix == ".ckpt":
        return _plain(torch.load(path, weights_only=True), folder)
    return path.read_bytes()


def _plain(value: Any, folder: Path) -> Any:
    """Turn what a checkpoint holds into what ``==`` compares."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), value.tolist() if value.isnan().sum() == 0 else str(value.tolist()))
    if isinstance(value, dict):
        return {str(key).replace(str(folder), "<folder>"): _plain(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, folder) for item in value]
    if isinstance(value, str):
        return value.replace(str(folder), "<folder>")
    return value if value == value else "nan"


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """Name the places at which two folders' contents differ, as deep as it can be said."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        return [
            place
            for name in names
            for place in (
                differing(one[name], other[name], f"{where}/{name}")
                if name in one and name in other
                else [f"{where}/{name} is in one only"]
            )
        ]
    return [] if one == other else [where]
