"""A cache of arrays: a folder of ``.npz`` files, each written atomically."""

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

__all__ = ["CACHE_VARIABLE", "cache_folder", "cached_arrays", "file_hash"]

CACHE_VARIABLE = "TL_LAB_CACHE"
"""The environment variable that names the cache's folder."""


def cache_folder() -> Path:
    """Return the cache folder: ``$TL_LAB_CACHE``, or ``~/.cache/tl_lab``."""
    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "tl_lab"


def file_hash(path: Path) -> str:
    """Hash a file's content (SHA-256, hexadecimal digits)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_arrays(
    name: str,
    key: Mapping[str, object],
    make: Callable[[], dict[str, np.ndarray]],
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """Read arrays from the cache, or compute and store them.

    A damaged file is replaced. An unwritable folder costs time, but does not stop the run.

    Args:
        name: first part of the file's name.
        key: everything on which the arrays depend, as JSON values; each key has its own file.
        make: computes the arrays, by name; object arrays are not supported.
        folder: folder of the files; None for :func:`cache_folder`.

    Returns:
        The arrays by name.
    """
    text = json.dumps(key, sort_keys=True, default=str)
    path = (folder or cache_folder()) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return {part: file[part] for part in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        pass  # absent or damaged
    arrays = make()
    _keep(path, arrays)
    return arrays


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
