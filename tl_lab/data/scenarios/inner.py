"""Data modules nested in other data modules, given as a configuration node or by the name of a data choice."""

from collections.abc import Iterable
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tl_lab.config import choices
from tl_lab.config.instantiate import build_node, class_of
from tl_lab.config.nodes import read_node
from tl_lab.data.base import DataModule
from tl_lab.errors import UserError, nearest
from tl_lab.problems import Problem

__all__ = ["build_inner", "inner_classes", "inner_modalities", "inner_problems"]


def inner_classes(value: Any) -> list[type[DataModule]]:
    """Return the classes of nested data modules without building them.

    Args:
        value: a node with ``_target_``, the name of a data choice, or a list of these.
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


def _nodes(value: Any) -> list[dict[str, Any]]:
    values = value if isinstance(value, Iterable) and not isinstance(value, str | dict | DictConfig) else [value]
    return [_node(one) for one in values]


def build_inner(value: DataModule | str, seed: int) -> DataModule:
    """Return nested data as a module.

    Args:
        value: a module built from a configuration node, or the name of a data choice, which is built with the values
            in its file.
        seed: seed for the splits of data given by name.

    Raises:
        UserError: the name is unknown, or the module limits its labels.
    """
    if isinstance(value, DataModule):
        if value.labels is not None:
            raise UserError(f"labels={value.labels} is not supported for data nested in other data: leave it out")
        return value
    node = OmegaConf.create({**_node(value), "seed": seed, "augmentation": None})
    module = build_node(cast(dict[str, Any], OmegaConf.to_container(node, resolve=True)))
    assert isinstance(module, DataModule)
    return module


def _node(value: Any) -> dict[str, Any]:
    if not isinstance(value, str):
        return dict(value)
    files = choices("data")["data"]
    if value not in files:
        raise UserError(f"there is no data={value}; {nearest(value, files)}")
    node = read_node(files[value])
    # interpolations (the seed) are kept; the caller resolves them
    return {str(key): node._get_node(key) for key in node}
