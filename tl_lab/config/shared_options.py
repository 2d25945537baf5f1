"""Options that every data set takes from the run; a node without them would silently use its class's defaults."""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from tl_lab.config.catalogue import choices
from tl_lab.config.instantiate import locate
from tl_lab.config.nodes import read_node
from tl_lab.texts import listed

__all__ = ["lacking"]

_OF_DATA = ("seed", "batch_size", "augmentation", "evaluate")
_LISTED = re.compile(r"data\.datasets\.\d+")  # a run gives its seed to sets of this list that have none
_OF_INNER_DATA = ("seed",)  # the outer data determine batches, augmentation and the tested checkpoint


def lacking(plain: Mapping[str, Any]) -> list[str]:
    """Report data sets whose configuration lacks an option that the run sets, such as the seed of the split.

    A class that does not take one of these options need not have it, except for the seed. Resumed and repeated runs
    are not checked, since they keep the options that they began with.

    Args:
        plain: the configuration as plain mappings and lists; references may be unresolved.

    Returns:
        One sentence for each incomplete node, with the file and the remedy.

    Raises:
        UserError: an incomplete node names a class that does not exist.
    """
    found: list[str] = []
    if plain.get("resume"):
        return found
    for path, node in _named(plain.get("data"), "data"):
        if _LISTED.fullmatch(path):
            continue
        name = str(node["_target_"])
        missing = [key for key in (_OF_DATA if path == "data" else _OF_INNER_DATA) if key not in node]
        if missing and _is_data(name):
            missing = [key for key in missing if key == "seed" or _takes(name, key)]
        if missing and _is_data(name):
            place = "".join(f" ({file})" for file in _files_of(name, missing)[:1])
            found.append(
                f"{path}{place} lacks {listed(missing, len(missing))}, which the run sets: begin the file with "
                "'defaults: [_labelled, _self_]' to inherit all shared options, or give each, as in 'seed: ${seed}'"
            )
    return found


def _named(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(value, Mapping) and "_target_" in value:
        yield path, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _named(item, f"{path}.{key}")


def _takes(name: str, key: str) -> bool:
    from tl_lab.config.validate import taken_by  # which uses this module

    taken = taken_by(name)
    return taken.anything or key in taken.hints


def _is_data(name: str) -> bool:
    target = locate(name)
    from tl_lab.data.base import DataModule  # imports PyTorch, as the class itself does

    return inspect.isclass(target) and issubclass(target, DataModule)


def _files_of(name: str, missing: Collection[str]) -> list[Path]:
    """Find the choices of data that name a class and lack an option."""
    return [
        file
        for file in choices("data")["data"].values()
        if (node := _content(file)).get("_target_") == name and not node.keys() >= set(missing)
    ]


def _content(file: Path) -> Mapping[str, Any]:
    try:
        content = OmegaConf.to_container(read_node(file), resolve=False)
    except Exception:  # Hydra reports files that cannot be read
        return {}
    return cast(Mapping[str, Any], content)
