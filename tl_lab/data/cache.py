"""A cache of arrays: a folder with ``.npz`` files, and sub-folders for larger data; all are written atomically."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tl_lab.errors import UserError

__all__ = ["CACHE_VARIABLE", "cache_folder", "cached_arrays", "cached_folder", "file_hash"]

_SIZES = "sizes.json"  # file with the sizes of a folder's files, which reveal damage

CACHE_VARIABLE = "TL_LAB_CACHE"
"""Environment variable with the path of the cache folder."""


def cache_folder() -> Path:
    """Return the cache folder: ``$TL_LAB_CACHE``, or ``~/.cache/tl_lab``."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "tl_lab"


def file_hash(path: Path) -> str:
    """Return the SHA-256 hash of a file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_arrays(
    name: str,
    key: Mapping[str, object],
    make: Callable[[], dict[str, np.ndarray]],
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """Read arrays from the cache, or compute and store them.

    A damaged file is replaced. If the folder is not writable, the arrays are computed again in every run.

    Args:
        name: first part of the file's name.
        key: everything on which the arrays depend, as JSON values; each key has its own file.
        make: computes the arrays, by name; object arrays are not supported.
        folder: folder for the file; None for :func:`cache_folder`.

    Returns:
        The arrays by name.
    """
    path = (folder or cache_folder()) / f"{_file_name(name, key)}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return {part: file[part] for part in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        pass  # absent or damaged
    arrays = make()
    _keep(path, arrays)
    return arrays


def cached_folder(name: str, key: Mapping[str, object], write: Callable[[Path], None]) -> Path:
    """Return a folder of the cache for files too large for memory; they are written once.

    The folder exists only once it is complete. Processes that need the same folder wait for the first one to write
    it. A folder that is damaged, or that a killed process left incomplete, is replaced.

    Args:
        name: first part of the folder's name.
        key: everything on which the files depend, as JSON values.
        write: writes the files into a given empty folder.

    Raises:
        UserError: the cache cannot be written.
    """
    path = cache_folder() / _file_name(name, key)
    if _is_whole(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the process ends, even if it is killed
            if not _is_whole(path):
                _write_folder(path, write)
    except OSError as error:
        raise UserError(
            f"the cache {path.parent} cannot be written ({error.strerror or error}): set {CACHE_VARIABLE} to a folder "
            "with enough space"
        ) from error
    return path


def _write_folder(path: Path, write: Callable[[Path], None]) -> None:
    beside = path.with_suffix(".part")
    for old in (beside, path):
        shutil.rmtree(old, ignore_errors=True)
    beside.mkdir()
    try:
        write(beside)
        sizes = {file.name: file.stat().st_size for file in beside.iterdir()}
        (beside / _SIZES).write_text(json.dumps(sizes))
        beside.replace(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _is_whole(path: Path) -> bool:
    try:
        sizes = json.loads((path / _SIZES).read_text())
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _file_name(name: str, key: Mapping[str, object]) -> str:
    text = json.dumps(key, sort_keys=True, default=str)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _keep(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            beside = Path(file.name)
            np.savez(file, **arrays)  # type: ignore[arg-type]
        beside.replace(path)
    except OSError:
        if beside is not None:
            beside.unlink(missing_ok=True)
