"""Saved configurations from elsewhere: which classes and functions they may name."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tl_lab.config import choices, conf_dir, to_plain
from tl_lab.errors import UserError

__all__ = ["ALLOW", "check_foreign", "known_targets"]

ALLOW = "TL_LAB_ALLOW"
"""Environment variable with further allowed names, separated by commas."""


@functools.cache
def known_targets() -> frozenset[str]:
    """List what the project's own configuration files name: each class and function, nothing else of their packages."""
    of_runs = [files for group, files in choices().items() if not group.startswith("hydra/")]
    shared = conf_dir().glob("*/**/_*.yaml")  # what choices have in common
    files = [conf_dir() / "config.yaml", *shared, *(file for files in of_runs for file in files.values())]
    return frozenset(name for file in files for name in _targets(_read(file)))


def check_foreign(cfg: DictConfig | Mapping[str, Any], where: str | Path, allow: Sequence[str] = ()) -> None:
    """Refuse a saved configuration that would import or call what no configuration file of the project names.

    What a node's ``_target_`` names is imported and called with the node's values: a file from elsewhere could name any
    function of any package. Exact names are compared after references are resolved, at any depth.

    Args:
        cfg: the saved configuration.
        where: its file, for the message.
        allow: further exact names; those of ``TL_LAB_ALLOW`` are added.

    Raises:
        UserError: a name is neither known nor allowed.
    """
    allowed = known_targets() | {*allow, *filter(None, map(str.strip, os.environ.get(ALLOW, "").split(",")))}
    unknown = [name for name in dict.fromkeys(_targets(to_plain(cfg))) if name not in allowed]
    if unknown:
        raise UserError(
            f"{where} names {', '.join(map(repr, unknown))}, which no configuration file of this project names and "
            "which would be imported and called: if you trust the file, allow it by its exact name, "
            f"{ALLOW}={','.join(unknown)} (or --allow, where the command has it)"
        )


def _read(file: Path) -> Any:
    import yaml

    return yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _targets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield str(value["_target_"])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _targets(item)
