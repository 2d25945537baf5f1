"""Build the object that a configuration node names; only this module imports names that come from files.

A configuration read from a run's folder may come from anywhere. While :func:`foreign` is active, each ``_target_`` is
compared with the list of known names, on the same values that are built and immediately before the first import.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import given_folders
from tl_lab.config.trust import Trust
from tl_lab.errors import UserError, nearest

__all__ = ["build_node", "class_of", "foreign", "is_foreign", "locate"]

_active: list[Trust] = []  # shared by all threads of the process


@contextlib.contextmanager
def foreign(where: Path, allow: Sequence[str] = ()) -> Iterator[Trust]:
    """Allow only known names within a block, because its configuration is from a run's folder.

    Args:
        where: file of the configuration, for messages.
        allow: further exact names that are allowed.

    Yields:
        The trusted names.
    """
    trust = Trust.of(where, allow)
    _active.append(trust)
    try:
        yield trust
    finally:
        _active.remove(trust)


def is_foreign() -> bool:
    """Whether the configuration in use was read from a run's folder."""
    return bool(_active)


def build_node(node: DictConfig | Mapping[str, Any], trust: Trust | None = None, **given: Any) -> Any:
    """Build a node with further arguments; a node with ``_partial_`` remains partial.

    Args:
        node: a node with a ``_target_``; nodes in it are built first.
        trust: the names that the node may use; by default those of :func:`foreign`, or any name outside its blocks.
        given: further arguments of the class, objects included.

    Raises:
        UserError: a name is not trusted, or a foreign node contains a reference.
    """
    from hydra.utils import instantiate

    config = node if isinstance(node, DictConfig) else OmegaConf.create(dict(node))
    for one in [*_active, *filter(None, [trust])]:
        # a copy without references and parents, so that the checked values are those that are built
        plain = OmegaConf.to_container(config, resolve=False)
        one.check(plain)
        config = cast(DictConfig, OmegaConf.create(plain))
    partial = instantiate(config, _convert_="all", _partial_=True)
    return partial if config.get("_partial_") else partial(**given)


def class_of(node: DictConfig | Mapping[str, Any]) -> Any:
    """Import the class that a node names, without building it.

    Raises:
        UserError: the name is not trusted.
    """
    from hydra.utils import get_class

    name = str(node["_target_"])
    for trust in _active:
        trust.check({"_target_": name})
    return get_class(name)


def locate(path: str) -> Callable[..., Any]:
    """Import the object at a dotted path, or report which part of the path does not exist.

    Raises:
        UserError: the path is not trusted, or there is no callable at it.
    """
    for trust in _active:
        trust.check({"_target_": path})
    parts = path.split(".")
    found: Any = None
    for depth, part in enumerate(parts):
        here = ".".join(parts[: depth + 1])
        if hasattr(found, part):
            found = getattr(found, part)
            continue
        try:
            found = importlib.import_module(here)
        except ModuleNotFoundError as error:
            missing = str(error.name)
            if here == missing or here.startswith(f"{missing}."):
                where = ".".join(parts[:depth])
                lacking = f"{where!r} has no {part!r}" if where else f"there is no module {part!r}"
                hint = _close(part, found) or _no_package(parts) or f": {lacking}"
                raise UserError(f"{path!r} does not exist{hint}") from error
            # the module exists, but another one that it imports is missing
            raise UserError(f"{path!r} cannot be imported: {here} needs {missing}, which is not installed") from error
        except Exception as error:  # importing a module may raise any exception
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"{path!r} cannot be imported ({reason})") from error
    if not callable(found):
        raise UserError(f"{path!r} is neither a class nor a function")
    return cast(Callable[..., Any], found)


def _close(name: str, module: Any) -> str:
    public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"] if module else []
    hint = nearest(name, public) if public else ""
    return f"; {hint}" if hint.startswith("did") else ""  # a list of all names of a module does not help


def _no_package(parts: Sequence[str]) -> str:
    """Explain that a folder given with ``--config-dir`` is in a folder that lacks only ``__init__.py`` to be found."""
    if len(parts) < 2:
        return ""
    for above in (above for folder in given_folders() for above in folder.parents if above.name == parts[0]):
        module = above / parts[1]
        if (module.is_dir() or module.with_suffix(".py").is_file()) and not (above / "__init__.py").is_file():
            return f": the folder {str(above)!r} has no __init__.py; create an empty one to make it a package"
    return ""
