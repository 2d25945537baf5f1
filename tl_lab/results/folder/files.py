"""Write files atomically, and read ``results.json``."""

import glob
import hashlib
import json
import math
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tl_lab.errors import UserError
from tl_lab.results.kinds import learn
from tl_lab.texts import printable

__all__ = [
    "RESULTS",
    "SCHEMA",
    "not_completed",
    "plain",
    "read_results",
    "remove_leftovers",
    "replacing",
    "write_json",
    "write_text",
]

SWEEP = "sweep.json"
"""Start time and command of a sweep."""
RESULTS = "results.json"
_LEFTOVER = re.compile(r"\..+\.(?P<process>\d+)-(?P<machine>[0-9a-f]{8})?[0-9a-f]{8}(\.\w+)?")
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_ABANDONED_S = 24 * 3600  # age of a temporary file of another machine, whose processes cannot be checked
SCHEMA = 1
# types of the values that other commands use; null is always allowed
_KINDS: dict[str, type | tuple[type, ...]] = {
    "status": str, "metrics": dict, "parameters": dict, "sizes": dict, "versions": dict, "protocol": dict,
    "choices": dict, "selection": list, "duration_s": (int, float), "seed": int, "objective": (int, float),
}  # fmt: skip


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, whose file replaces ``path`` when the block succeeds.

    The file is flushed to disk before it is renamed, so that neither a kill nor a power failure leaves a partial file.
    If the block raises, the temporary file is removed and an earlier file at ``path`` is left unchanged.

    Args:
        path: file to write; missing folders are created.

    Yields:
        The path to write to, with the same suffix as ``path``.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    remove_leftovers(path.parent, path.stem)
    # tempfile is not used, because the file must have the usual permissions of a new file
    beside = path.with_name(f".{path.stem}.{os.getpid()}-{_MACHINE}{secrets.token_hex(4)}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        kept = "the earlier file is intact" if path.exists() else "nothing was written"
        raise UserError(
            f"Cannot write {path}: {(error.strerror or str(error)).lower()}; {kept}: free some space, or write "
            "to another folder."
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def remove_leftovers(folder: Path, stem: str | None = None) -> None:
    """Remove the temporary files of processes that were killed while writing.

    Args:
        folder: folder of the files; sub-folders are searched only if ``stem`` is None.
        stem: stem of the file that was being written; None for all files.
    """
    found = folder.glob(f".{glob.escape(stem)}.*-*") if stem is not None else folder.rglob(".*-*")
    for path in found:
        match = _LEFTOVER.fullmatch(path.name)
        with suppress(OSError):
            if match is not None and _is_abandoned(path, int(match["process"]), match["machine"]):
                path.unlink()


def _is_abandoned(path: Path, process: int, machine: str | None) -> bool:
    """Whether the process that wrote a temporary file has ended; folders may be shared between machines."""
    if machine in (None, _MACHINE):  # earlier versions did not record the machine
        return not _runs(process)
    return time.time() - path.stat().st_mtime > _ABANDONED_S


def _runs(process: int) -> bool:
    """Whether a process may be alive: unknown states (other users, numbers that are invalid here) count as alive."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file in UTF-8, atomically.

    Args:
        path: the file; missing folders are created.
        text: the content; line ends are not translated.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written; an earlier one is left unchanged.
    """
    with replacing(path) as beside:
        _write(beside, text)
    return Path(path)


def write_json(path: str | Path, obj: Any) -> Path:
    """Write an object as strict JSON, atomically.

    Args:
        path: the file; missing folders are created.
        obj: any object that :func:`plain` supports.

    Returns:
        The path.

    Raises:
        UserError: the file cannot be written; an earlier one is left unchanged.
        TypeError: the object contains a value that JSON cannot represent.
    """
    return write_text(path, json.dumps(plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(obj: Any) -> Any:
    """Convert an object to values of strict JSON.

    Mappings (including OmegaConf's), sequences and sets are converted recursively. Numbers, arrays and tensors of numpy
    and torch become numbers and lists, and paths become strings. NaN and infinities become None, because strict JSON
    cannot represent them, and readers in other languages would fail.

    Args:
        obj: the object.

    Returns:
        Only dictionaries, lists, str, int, float, bool and None.

    Raises:
        TypeError: the object, or a part of it, has another type.
    """
    if obj is None or isinstance(obj, bool):
        return obj
    if isinstance(obj, str):
        return str(obj)
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, os.PathLike):
        return os.fspath(obj)
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, Sequence | Set) and not isinstance(obj, bytes | bytearray):
        values = sorted(obj, key=repr) if isinstance(obj, Set) else obj
        return [plain(value) for value in values]
    convert: Callable[[], Any] | None = getattr(obj, "tolist", None)  # numpy and torch, without importing them
    if convert is not None:
        return plain(convert())
    raise TypeError(f"{type(obj).__name__} cannot be written as JSON: {obj!r}")


def not_completed(results: Mapping[str, Any]) -> str:
    """Describe a run that is not completed: its status and, if it has failed, the reason."""
    status = results.get("status")
    if status is None:
        return "has no status (its results.json is incomplete)"
    if status != "failed":
        return "has not finished" if status == "running" else f"has the status {status}"
    return f"has failed ({results['error']})" if results.get("error") else "has failed"


def read_results(run_dir: str | Path) -> dict[str, Any]:
    """Read a run's ``results.json``, and make the metrics that it describes known to tables.

    Args:
        run_dir: the run's folder.

    Returns:
        The content.

    Raises:
        UserError: the folder or the file is missing, or the file is damaged or of a newer schema.
    """
    path = Path(run_dir) / RESULTS
    if not path.parent.is_dir():
        raise UserError(f"There is no run folder {path.parent}: give a folder that a run has written.")
    if path.exists() and not path.is_file():  # reading a pipe would never end
        raise UserError(f"{path} cannot be read: it is not a regular file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path.parent} contains no {RESULTS}: it is not a run's folder, or its run ended before writing one."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): repeat the run, or restore the file.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} contains a {type(content).__name__} where a mapping is expected: repeat the run.")
    schema = content.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise UserError(
            f"{path} has schema {schema!r}, but this version reads at most {SCHEMA}: read it with a newer tl_lab."
        )
    for name, kind in _KINDS.items():
        if content.get(name) is not None and not isinstance(content[name], kind):
            raise UserError(f"{path} has {content[name]!r:.40} as {name}: repeat the run, or restore the file.")
    for name, value in (content.get("metrics") or {}).items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UserError(f"{path} has {value!r:.40} as {name}: repeat the run, or restore the file.")
    learn(content.get("problem"))
    return content


def _write(path: Path, text: str) -> None:
    path.write_text(printable(text), encoding="utf-8", newline="")
