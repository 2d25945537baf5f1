"""Trust in saved configurations: the classes and functions that they may name."""

import functools
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import choices, conf_dir, outside_folders
from tl_lab.config.stored import read_yaml, texts_in
from tl_lab.errors import UserError

__all__ = ["ALLOW", "Trust", "check_foreign", "known_targets"]

ALLOW = "TL_LAB_ALLOW"
"""Environment variable with further allowed names, separated by commas."""


@dataclass(frozen=True)
class Trust:
    """The names that a configuration from a run's folder may use.

    Attributes:
        where: file of the configuration, for messages.
        allowed: exact names of the allowed classes and functions.
    """

    where: Path
    allowed: frozenset[str]

    @classmethod
    def of(cls, where: str | Path, allow: Sequence[str] = ()) -> "Trust":
        """Trust the names in the configuration files of this machine, and those that the user allows.

        Args:
            where: the saved configuration's file.
            allow: further exact names; those of ``TL_LAB_ALLOW`` are added.
        """
        from_environment = filter(None, map(str.strip, os.environ.get(ALLOW, "").split(",")))
        return cls(Path(where), known_targets() | {*allow, *from_environment})

    def check(self, value: Any) -> None:
        """Check that plain values contain only allowed names and no reference, at any depth.

        Args:
            value: nested dicts, lists and values, not resolved.

        Raises:
            UserError: a name is neither known nor allowed, or a text contains ``${...}``.
        """
        unknown = [name for name in dict.fromkeys(_targets(value)) if name not in self.allowed]
        if unknown:
            raise UserError(
                f"{self.where} would import and call {', '.join(map(repr, unknown))}, which no known configuration "
                f"file names: give {_folder_options(self.where.parent)}, or install its package; if you trust the "
                f"file, you can also allow the name ({ALLOW}={','.join(unknown)})"
            )
        if reference := next((text for text in texts_in(value) if "${" in text), None):
            raise UserError(f"{self.where} contains the reference {reference!r}, which no run writes: nothing is built")


def known_targets() -> frozenset[str]:
    """List the names in the configuration files of this machine, including outside folders.

    The list contains each class and function that a file names, and no other names of their packages.
    """
    return _known_targets(outside_folders())


@functools.cache
def _known_targets(_outside: tuple[Path, ...]) -> frozenset[str]:
    of_runs = [files for group, files in choices().items() if not group.startswith("hydra/")]
    shared = [file for folder in (conf_dir(), *_outside) for file in folder.glob("*/**/_*.yaml")]
    files = [conf_dir() / "config.yaml", *shared, *(file for files in of_runs for file in files.values())]
    return frozenset(name for file in files for name in _targets(read_yaml(file)))


def check_foreign(cfg: DictConfig | Mapping[str, Any], where: str | Path, allow: Sequence[str] = ()) -> None:
    """Check that all names in a saved configuration occur in the configuration files of this machine.

    The ``_target_`` of a node is imported and called with the node's values, so an untrusted file could name any
    function of any package. Exact names are compared, at any depth and under any key.

    Args:
        cfg: the saved configuration, as :func:`~tl_lab.config.stored.read_stored` returns it.
        where: file of the configuration, for the message.
        allow: further exact names; those of ``TL_LAB_ALLOW`` are added.

    Raises:
        UserError: a name is neither known nor allowed, or a text contains a reference.
    """
    plain = OmegaConf.to_container(cfg, resolve=False) if isinstance(cfg, DictConfig) else cfg
    Trust.of(where, allow).check(plain)


def _folder_options(run: Path) -> str:
    """Write the options that name the folders with which a run was made; they are never used automatically."""
    path, folders = run / "results.json", []
    with suppress(OSError, ValueError, AttributeError, TypeError):
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        folders = [folder for folder in content.get("config_dirs") or () if isinstance(folder, str)]
    words = " ".join(f"--config-dir {shlex.quote(folder)}" for folder in folders)
    return f"{words} (the run was made with it)" if words else "its folder of choices (--config-dir FOLDER)"


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield str(value["_target_"])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _targets(item)
