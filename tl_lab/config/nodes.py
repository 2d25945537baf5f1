"""The node that a choice's file amounts to with what it shares with others, without a whole configuration around it."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import conf_dir

__all__ = ["read_node"]


def read_node(file: Path) -> DictConfig:
    """Read a choice's file and the files that its defaults list names.

    Args:
        file: ``<root>/<group>/<choice>.yaml``.

    Returns:
        The node as Hydra composes it where nothing is overridden; references (``${seed}``) are left as they are.
    """
    own = cast(DictConfig, OmegaConf.load(file))
    defaults: list[Any] = list(own.pop("defaults", []))
    parts = [own if one == "_self_" else _read_default(one, file) for one in defaults]
    return cast(DictConfig, OmegaConf.merge(*parts, *([] if "_self_" in defaults else [own])))


def _read_default(one: Any, file: Path) -> DictConfig:
    """Read ``name``, ``/group/name@_here_``, or a choice at a place of its own, ``/group@place: name``."""
    if isinstance(one, str):
        return read_node(_find(one.partition("@")[0], file))
    ((key, name),) = one.items()
    group, _, place = str(key).partition("@")
    return OmegaConf.create({place: read_node(_find(f"{group}/{name}", file))})


def _find(name: str, file: Path) -> Path:
    """Find a file by its name, which begins with / where it is not in the same folder; own folders come first."""
    if not name.startswith("/"):
        return file.parent / f"{name}.yaml"
    places = [folder / f"{name[1:]}.yaml" for folder in (*file.parents, conf_dir())]
    return next((place for place in places if place.is_file()), places[-1])
