"""Read the files of a run's folder as data, without resolving, importing or building anything."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.identity import NO_ADAPTER
from tl_lab.config.renamed import current_names
from tl_lab.errors import UserError

__all__ = ["read_stored", "read_yaml", "texts_in"]

_LARGEST_BYTES = 2**20


def read_stored(folder: Path, nodes: Sequence[str] = ("strategy",)) -> DictConfig:
    """Read ``config.yaml`` of a run's folder, with the current names of classes that have moved.

    A run older than adapters gets ``adapter=none``.

    A run stores its resolved configuration, so a reference (``${...}``), a YAML alias or a node for Hydra must have
    been added by someone else. All three are refused: references can read environment variables and files, and
    aliases can expand without bound.

    Args:
        folder: the run's folder.
        nodes: required nodes of the configuration.

    Raises:
        UserError: the file is missing, damaged, too large, or not the configuration of a run.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder} is not the folder of a run: it has no config.yaml")
    text = _text_of(path)
    try:
        cfg = OmegaConf.create(text)
    except Exception as error:  # a malformed document may raise any exception
        raise _unreadable(path, error) from error
    if not isinstance(cfg, DictConfig) or any(name not in cfg for name in nodes) or "hydra" in cfg:
        raise UserError(f"{path} is not the configuration of a run")
    plain = OmegaConf.to_container(cfg, resolve=False)
    if reference := next((text for text in texts_in(plain) if "${" in text), None):
        raise UserError(f"{path} contains the reference {reference!r}, which no run writes: the file is not read")
    current = current_names(plain)
    current["adapter"] = current.get("adapter") or {"_target_": NO_ADAPTER}
    return cast(DictConfig, OmegaConf.create(current))


def read_yaml(path: Path) -> Any:
    """Read a YAML file as plain values; references remain text.

    Args:
        path: path of the file.

    Raises:
        UserError: the file is missing, not a regular file, damaged, too large, or contains an alias.
    """
    import yaml

    text = _text_of(path)
    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except Exception as error:
        raise _unreadable(path, error) from error


def texts_in(value: Any) -> Iterator[str]:
    """Yield every string in plain values, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts_in(key)
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def _text_of(path: Path) -> str:
    """Read the text of a YAML file after checking that it can be parsed at low cost."""
    import yaml

    try:
        if not path.is_file():  # reading a pipe or a device might never end
            raise UserError(f"{path} is missing or not a regular file")
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"{path} is larger than {_LARGEST_BYTES:,} bytes, unlike any file that a run writes")
        text = path.read_text(encoding="utf-8")
        events = yaml.parse(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if "*" in text else ()
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise UserError(f"{path} contains a YAML alias, which no run writes: the file is not read")
    except UserError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    return text


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read: {(str(error).splitlines() or [type(error).__name__])[0]}")
