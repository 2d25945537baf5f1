"""The configuration that a run's folder holds, read as data: nothing in it is resolved, imported or built here."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.identity import NO_ADAPTER
from tl_lab.config.renamed import current_names
from tl_lab.errors import UserError

__all__ = ["read_stored"]

_LARGEST_BYTES = 2**20


def read_stored(folder: Path, nodes: Sequence[str] = ("strategy",)) -> DictConfig:
    """Read ``config.yaml`` of a run's folder, with today's names for classes that have moved since.

    A run from before there were adapters gets ``adapter=none``.

    A run stores its configuration resolved. A reference (``${...}``) or a YAML alias in it was put there by someone
    else: either is refused, since references read environment variables and files, and aliases can grow without bound.

    Args:
        folder: the run's folder.
        nodes: that the configuration must have.

    Raises:
        UserError: the file is missing, damaged, too large, or not the configuration of a run.
    """
    path = folder / "config.yaml"
    try:
        if not path.is_file():
            raise UserError(f"{folder} is not the folder of a run: it has no config.yaml")
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"{path} is not the configuration of a run: it is larger than {_LARGEST_BYTES:,} bytes")
        _refuse_aliases(path)
        cfg = OmegaConf.load(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(cfg, DictConfig) or any(name not in cfg for name in nodes):
        raise UserError(f"{path} is not the configuration of a run")
    plain = OmegaConf.to_container(cfg, resolve=False)
    if reference := next((text for text in _texts(plain) if "${" in text), None):
        raise UserError(f"{path} holds the reference {reference!r}, which no run writes: nothing is read from it")
    current = current_names(plain)
    current["adapter"] = current.get("adapter") or {"_target_": NO_ADAPTER}
    return cast(DictConfig, OmegaConf.create(current))


def _refuse_aliases(path: Path) -> None:
    import yaml

    with path.open(encoding="utf-8") as file:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(file)):
            raise UserError(f"{path} holds a YAML alias, which no run writes: nothing is read from it")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
