"""Read the node of a choice, including shared files, without composing a whole configuration."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import conf_dir, outside_folders

__all__ = ["read_node"]


def read_node(file: Path) -> DictConfig:
    """Read a choice's file and the files that its defaults list names.

    Args:
        file: ``<root>/<group>/<choice>.yaml``.

    Returns:
        The node as Hydra composes it without overrides; references (``${seed}``) are not resolved.
    """
    own = cast(DictConfig, OmegaConf.load(file))
    defaults: list[Any] = list(own.pop("defaults", []))
    parts = [own if one == "_self_" else _read_default(one, file) for one in defaults]
    return cast(DictConfig, OmegaConf.merge(*parts, *([] if "_self_" in defaults else [own])))


def _read_default(one: Any, file: Path) -> DictConfig:
    """Read ``name``, ``/group/name@_here_``, or a choice at another node, ``/group@node: name``."""
    if isinstance(one, str):
        return read_node(_find(one.partition("@")[0], file))
    ((key, name),) = one.items()
    group, _, place = str(key).partition("@")
    return OmegaConf.create({place: read_node(_find(f"{group}/{name}", file))})


def _find(name: str, file: Path) -> Path:
    """Find a file by name, in Hydra's order.

    A name that begins with / is searched in the file's parent folders, then in ``conf/``; any other name in its group,
    first that of ``conf/``, then those of outside folders.
    """
    if name.startswith("/"):
        places = [folder / f"{name[1:]}.yaml" for folder in (*file.parents, conf_dir())]
    else:
        roots = (conf_dir(), *outside_folders())
        groups = [file.parent.relative_to(root) for root in roots if file.is_relative_to(root)]
        places = [*(root / group / f"{name}.yaml" for group in groups for root in roots), file.parent / f"{name}.yaml"]
    return next((place for place in places if place.is_file()), places[-1])
