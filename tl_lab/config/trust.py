"""Trust in saved configurations: the classes and functions that they may name."""

import functools
import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
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
        where: its file, for messages.
        allowed: exact names of classes and functions.
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
        told = filter(None, map(str.strip, os.environ.get(ALLOW, "").split(",")))
        return cls(Path(where), known_targets() | {*allow, *told})

    def check(self, value: Any) -> None:
        """Refuse plain values that contain a name that is not allowed, or a reference, at any depth.

        Args:
            value: dicts, lists and values, not resolved.

        Raises:
            UserError: a name is neither known nor allowed, or a text contains ``${...}``.
        """
        unknown = [name for name in dict.fromkeys(_targets(value)) if name not in self.allowed]
        if unknown:
            raise UserError(
                f"{self.where} names {', '.join(map(repr, unknown))}, which no configuration file of this project "
                "names and which would be imported and called: for a package of your own, install it or give its "
                f"folder of choices by --config-dir{_made_with(self.where.parent)}; if you trust the file, allow it "
                f"by its exact name, {ALLOW}={','.join(unknown)} (or --allow, where the command has it)"
            )
        if reference := next((text for text in texts_in(value) if "${" in text), None):
            raise UserError(f"{self.where} holds the reference {reference!r}, which no run writes: nothing is built")


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
    """Refuse a saved configuration with names that no configuration file of this machine contains.

    The ``_target_`` of a node is imported and called with the node's values, so an untrusted file could name any
    function of any package. Exact names are compared, at any depth and under any key.

    Args:
        cfg: the saved configuration, as :func:`~tl_lab.config.stored.read_stored` returns it.
        where: its file, for the message.
        allow: further exact names; those of ``TL_LAB_ALLOW`` are added.

    Raises:
        UserError: a name is neither known nor allowed, or a text holds a reference.
    """
    plain = OmegaConf.to_container(cfg, resolve=False) if isinstance(cfg, DictConfig) else cfg
    Trust.of(where, allow).check(plain)


def _made_with(run: Path) -> str:
    """Name the folders that a run was made with, for a message; they are never used automatically."""
    path = run / "results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        folders = [folder for folder in content.get("config_dirs") or () if isinstance(folder, str)]
    except (OSError, ValueError, AttributeError, TypeError):
        return ""
    words = " ".join(f"--config-dir {shlex.quote(folder)}" for folder in folders)
    return f" (the run was made with {words})" if words else ""


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield str(value["_target_"])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _targets(item)
