"""The choices of each group: their names, files and descriptions.

Choices come from the project's own ``conf/``, from folders given by ``--config-dir``, and from installed distributions
that declare entry points in a group ``tl_lab.<...>``. All other modules find choices through this one.
"""

import contextlib
import functools
import importlib.util
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from tl_lab.errors import UserError, nearest

__all__ = ["CONFIG_DIR", "choices", "conf_dir", "describe", "given_folders", "importable", "outside_folders", "using"]

CONFIG_DIR = "TL_LAB_CONFIG_DIR"
"""Environment variable that lists further folders of choices, separated as in ``PATH``."""

_ENTRY_POINTS = "tl_lab."


def conf_dir() -> Path:
    """Find the folder of configuration files, in the installed package or next to it in the repository."""
    installed = Path(__file__).resolve().parents[1] / "conf"
    return installed if installed.is_dir() else installed.parent.parent / "conf"


def choices(group: str | None = None) -> dict[str, dict[str, Path]]:
    """List the choices of each group, including those of outside folders.

    Args:
        group: one group's name; ``None`` for all of them.

    Returns:
        For each group its choices and their files. A choice in a sub-folder is named ``folder/choice``.

    Raises:
        UserError: there is no such group, or two folders contain a choice of the same name.
    """
    folders = _group_folders()
    if group in folders:
        folders = {group: folders[group]}
    found = {name: _files(folder) for name, folder in folders.items()}
    for outside in outside_folders():
        for name in folders:
            for choice, file in _files(outside / name).items():
                if choice in found[name]:
                    raise UserError(f"{file}: {name}={choice} already exists ({found[name][choice]}): rename the file")
                found[name][choice] = file
    found = {name: files for name, files in found.items() if files}
    if group is not None and group not in found:
        raise UserError(f"there is no group {group!r}; {nearest(group, found)}")
    return {name: files for name, files in found.items() if group in (None, name)}


def describe(file: Path) -> str:
    """Read the description of a choice from the first line of its file (after a package directive)."""
    with file.open(encoding="utf-8") as lines:
        first = next((line.strip() for line in lines if not line.startswith("# @")), "")
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def outside_folders() -> tuple[Path, ...]:
    """List the further folders of choices: those given, then those of installed distributions."""
    return (*given_folders(), *_installed())


def given_folders() -> tuple[Path, ...]:
    """List the folders given by ``--config-dir`` or ``TL_LAB_CONFIG_DIR``."""
    return tuple(Path(text) for text in os.environ.get(CONFIG_DIR, "").split(os.pathsep) if text)


@contextlib.contextmanager
def using(folders: Iterable[str | Path | None]) -> Iterator[None]:
    """Add folders of choices within a block, including the processes that it starts.

    Python modules next to a folder remain importable after the block (see :func:`importable`).

    Args:
        folders: each with one sub-folder per group, like ``conf/``; ``None`` entries are ignored.

    Raises:
        UserError: a folder does not exist, or its path contains the separator of ``PATH``.
    """
    paths = [Path(folder).expanduser().absolute() for folder in folders if folder is not None]
    for path in paths:
        if not path.is_dir():
            raise UserError(f"--config-dir: there is no folder {str(path)!r}")
        if os.pathsep in str(path):
            raise UserError(f"--config-dir: {str(path)!r} contains {os.pathsep!r}: move the folder or link to it")
    before = os.environ.get(CONFIG_DIR)
    known = dict.fromkeys([*given_folders(), *paths])
    if known:
        os.environ[CONFIG_DIR] = os.pathsep.join(map(str, known))
    importable()
    try:
        yield
    finally:
        if before is not None:
            os.environ[CONFIG_DIR] = before
        else:
            os.environ.pop(CONFIG_DIR, None)


def importable() -> None:
    """Make the modules in the given folders and in their parents importable in this process.

    The folder and its parent are appended to ``sys.path``; if the parent is a package (contains ``__init__.py``), the
    first folder above that is not a package is used instead, so that ``my_lab/conf`` finds ``my_lab.method``.
    """
    for folder in given_folders():
        parent = folder.parent
        while (parent / "__init__.py").is_file() and parent != parent.parent:
            parent = parent.parent
        sys.path.extend(text for text in (str(folder), str(parent)) if text not in sys.path)


def _group_folders() -> dict[str, Path]:
    """Find the groups, which are the folders of the project's own ``conf/``; Hydra's groups are one level deeper."""
    folders = {folder.name: folder for folder in sorted(conf_dir().iterdir()) if folder.is_dir()}
    if (own := folders.pop("hydra", None)) is not None:
        folders |= {f"hydra/{folder.name}": folder for folder in sorted(own.iterdir()) if folder.is_dir()}
    return {name: folder for name, folder in folders.items() if any(folder.rglob("*.yaml"))}


def _files(folder: Path) -> dict[str, Path]:
    """List the choices in one group's folder, skipping any folders of runs inside it."""
    found = {}
    for file in sorted(folder.rglob("*.yaml")):
        inside = file.relative_to(folder)
        between = [folder, *(folder / parent for parent in inside.parents if parent.name)]
        # _name.yaml contains options that choices share
        hidden = any(part.startswith(".") for part in inside.parts) or file.name.startswith("_")
        if file.is_file() and not hidden and not any((parent / "config.yaml").exists() for parent in between):
            found[str(inside.with_suffix(""))] = file
    return found


@functools.cache
def _installed() -> tuple[Path, ...]:
    """Find the folders of choices that installed distributions declare, without importing them."""
    declared = entry_points()
    groups = sorted(group for group in declared.groups if group.startswith(_ENTRY_POINTS))
    entries = [entry for group in groups for entry in sorted(declared.select(group=group), key=lambda one: one.name)]
    found = [folder for entry in entries if (folder := _folder_of(entry)) is not None]
    return tuple(dict.fromkeys(found))


def _folder_of(entry: EntryPoint) -> Path | None:
    """Find the folder that an entry point declares; warn and return None if it is missing.

    ``tl_lab.conf`` names the folder as a package (``my_lab.conf``); an entry point in any other group names a
    choice, whose file is in ``conf/`` of the package of the choice's class.
    """
    package, *rest = entry.module.split(".")
    whole = entry.group == _ENTRY_POINTS + "conf"
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    folder = Path(places[0], *(rest if whole else ["conf"])) if places else None
    needed = folder
    if not whole:
        plurals = {plural: name for name in _group_folders() for plural in (name, f"{name}s", f"{name[:-1]}ies")}
        group = plurals.get(entry.group.removeprefix(_ENTRY_POINTS))
        needed = folder / group / f"{entry.name}.yaml" if folder is not None and group is not None else None
    if needed is not None and needed.exists():
        return folder
    missing = f"there is no {needed}" if needed is not None else "there is no such package or group"
    dist = entry.dist.name if entry.dist is not None else package
    warnings.warn(
        f"the entry point {entry.name} = {entry.value} ({entry.group}) of {dist} adds no choices: {missing}",
        stacklevel=2,
    )
    return None
