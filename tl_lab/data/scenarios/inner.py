"""Data modules nested in other data modules, given as a configuration node or by the name of a data choice."""

import inspect
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config import choices
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.config.nodes import read_node
from tl_lab.data.base import DataModule
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError, nearest
from tl_lab.problems import Problem

__all__ = [
    "build_inner",
    "expand",
    "inner_classes",
    "inner_modalities",
    "inner_problems",
    "name_of",
    "read_inner",
    "refuse_tables",
]

_OPTION = re.compile(r"(?<![\w/.-])data\.(\w+)")  # not a part of a path
_SETTING = re.compile(
    r"(?P<set>\bset )?(?<![\w/.-])data\.(?P<option>\w+)(?P<below>(?:\.\w+)*)"
    r"(?:=(?P<value>\[[^\]]*\]|(?:[^\s,;:()\[\]'`]|,(?=\S))+(?<!\.)))?"
)
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def inner_classes(value: Any) -> list[type[DataModule]]:
    """Return the classes of nested data modules without building them.

    Args:
        value: a node with ``_target_``, the name of a data choice, a mapping with this name (``data``) and options,
            or a list of these.
    """
    return [class_of(node) for node in _nodes(value)]


def inner_problems(value: Any) -> list[type[Problem]]:
    """Return the problem of each nested data module without building it.

    Args:
        value: see :func:`inner_classes`.
    """
    nodes = _nodes(value)
    return [kind.problem_for(node) for kind, node in zip(inner_classes(value), nodes, strict=True)]


def inner_modalities(value: Any) -> list[str]:
    """Return the modality of each nested data module without building it.

    Args:
        value: see :func:`inner_classes`.
    """
    nodes = _nodes(value)
    return [kind.modality_for(node) for kind, node in zip(inner_classes(value), nodes, strict=True)]


def refuse_tables(modalities: Sequence[str]) -> None:
    """Refuse to join tables in one run.

    Args:
        modalities: of the sets in ``data.datasets``.

    Raises:
        UserError: some of them are tables.
    """
    if "table" in modalities:
        raise UserError(
            "data.datasets cannot contain tables, whose columns differ: train one run for each (data=table); several "
            "label columns of one table are learned at once by data=table data.label_column=[a,b] (all 0 and 1, or all "
            "numbers with data.predict=numbers)"
        )


def _nodes(value: Any) -> list[dict[str, Any]]:
    values = value if isinstance(value, Iterable) and not isinstance(value, str | dict | DictConfig) else [value]
    return [_node(one) for one in values]


def build_inner(value: DataModule | str | Mapping[str, Any], seed: int) -> DataModule:
    """Return nested data as a module.

    Args:
        value: a module built from a configuration node; or the name of a data choice, which is built with the values
            in its file; or a mapping with this name (``data``) and the options that differ.
        seed: seed for the splits of data given by name, unless the options contain one.

    Raises:
        UserError: the name or an option is unknown, or the module limits its labels.
    """
    if isinstance(value, DataModule):
        if value.labels is not None:
            raise UserError(f"labels={value.labels} is not supported for data nested in other data: leave it out")
        return value
    own = value.get("seed", seed) if isinstance(value, Mapping) else seed
    node = OmegaConf.create({**_node(value), "seed": own, "augmentation": None})
    module = build_node(cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)))
    assert isinstance(module, DataModule)
    return module


def expand(cfg: DictConfig) -> None:
    """Replace sets given by a choice and options by their whole nodes, in place, so that all of them are recorded.

    A node without a seed gets that of the run, except in a resumed run, which keeps the data that it began with.

    Args:
        cfg: the configuration of a run.

    Raises:
        UserError: see :func:`build_inner`.
    """
    given = cfg.data.get("datasets")
    for number, one in enumerate(given if OmegaConf.is_list(given) else ()):
        if isinstance(one, DictConfig) and "_target_" not in one:
            node = OmegaConf.create({**_node(one), "augmentation": None})
            given[number] = OmegaConf.to_container(node, resolve=False)
        elif isinstance(one, DictConfig) and "seed" not in one and not cfg.get("resume"):
            given[number] = {**cast(dict[str, Any], OmegaConf.to_container(one, resolve=False)), "seed": "${seed}"}


def read_inner(module: DataModule, name: str, place: str) -> dict[str, Samples]:
    """Read nested data.

    Args:
        module: the data.
        name: their choice or class.
        place: the option in which they are nested: ``data.datasets`` (a list) or ``data.of``.

    Raises:
        UserError: they cannot be read; an option ``data.x`` of theirs is named by its place.
    """
    try:
        return module._read()
    except UserError as error:
        options = _options_of(module)
        if place != "data.datasets":
            text = _OPTION.sub(lambda found: f"{place}.{found[1]}" if found[1] in options else found[0], str(error))
            raise UserError(text) from error
        raise UserError(f"{name}: {_for_listed(str(error), name, options)}") from error


def _for_listed(message: str, name: str, options: Container[str]) -> str:
    """Name options of a listed set, in a message, by its node; the first time with the place of this node."""
    placed = False

    def written(found: re.Match[str]) -> str:
        nonlocal placed
        if found["option"] not in options:
            return found[0]
        path, value = found["option"] + found["below"], found["value"]
        place, placed = "" if placed else " in data.datasets", True
        before = found["set"] or ""
        if value is None:
            return f"{before}the option {path} of {{data: {name}}}{place}" if place else f"{before}its option {path}"
        value = f"[{value}]" if "," in value and not value.startswith("[") else value
        key, *inner = path.split(".")
        for one in reversed(inner):
            value = f"{{{one}: {value}}}"
        return f"{'write ' if before else ''}{{data: {name}, {key}: {value}}}{place}"

    return _SETTING.sub(written, message)


def _options_of(module: DataModule) -> set[str]:
    """Return the names of the arguments of a module's class and its bases."""
    constructors = [vars(kind)["__init__"] for kind in type(module).__mro__[:-1] if "__init__" in vars(kind)]
    return {name for constructor in constructors for name in inspect.signature(constructor).parameters} - {"self"}


def name_of(value: Any) -> str:
    """Name nested data by their choice; a module by the choice that is named after its class, or else by its class."""
    if isinstance(value, Mapping):
        return str(value.get("data"))
    if isinstance(value, str):
        return value
    words = _CAPITAL.sub("_", type(value).__name__).lower()
    return words if words in choices("data")["data"] else words.replace("_", "")


def _node(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and "_target_" in value:
        return dict(value)
    if not isinstance(value, str | Mapping) or (isinstance(value, Mapping) and "data" not in value):
        raise UserError(
            f"{value!r} is not a data set: write the name of a data choice, or {{data: image_folder, root: photos}} "
            "with its options"
        )
    name, files = name_of(value), choices("data")["data"]
    if name not in files:
        raise UserError(f"there is no data={name}; {nearest(name, files)}")
    node = read_node(files[name])
    # interpolations (the seed) are kept; the caller resolves them
    found = {str(key): node._get_node(key) for key in node}
    given = {str(key): one for key, one in value.items() if key != "data"} if isinstance(value, Mapping) else {}
    if refused := [key for key in ("augmentation", "labels") if key in given]:
        raise UserError(f"{refused[0]} is not supported for data nested in other data: leave it out")
    if unknown := [key for key in given if key not in found]:
        options = [key for key in found if not key.startswith("_")]
        raise UserError(f"data={name} has no option {unknown[0]!r}; {nearest(unknown[0], options)}")
    return found | given
