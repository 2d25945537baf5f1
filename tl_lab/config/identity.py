"""What identifies a configuration: its plain form, and the hash of what determines a run's numbers."""

import copy
import hashlib
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tl_lab.config.renamed import first_names
from tl_lab.errors import UserError

__all__ = ["NO_ADAPTER", "config_hash", "to_plain"]

NO_ADAPTER = "tl_lab.adapters.none.NoAdapter"
"""Target of ``adapter=none``, which runs from before there were adapters do not name."""

# These do not change a run's numbers. Folders differ between machines; what is in them is hashed apart.
_NOT_HASHED = frozenset(
    {"resume", "changed_data", "tags", "name", "logger", "figures", "health", "forgetting", "reproduces", "sweep"}
)
# Options that came later are left out while they change nothing: runs from before them keep their hash. By name alone
# where several nodes have them.
_NEUTRAL: dict[str, Any] = {
    "debug": False,
    "lengthened_from": None,
    "levels": None,
    "near_duplicates": None,
    "max_updates": None,
}
_NEUTRAL |= {"test_count": None, "lazy": "auto"}
_ADDED: dict[tuple[str, ...], Any] = {("update", "weight_decay_on"): "all", ("validation", "samples"): 2000}
_ADDED |= {("strategy", "silence"): None, ("strategy", "features"): 0.0, ("strategy", "patch"): 4}
_ADDED |= {("backbone", "blocks"): None}
_ADDED |= {("strategy", "image_templates"): ["a photo of a {}."]}
_ADDED |= {("strategy", "window"): 5, ("strategy", "negatives"): 5, ("strategy", "adapters"): "shared"}
_ADDED |= {("precision_of_matmul",): "highest", ("update", "graph"): "auto", ("update", "compile"): False}
_ADDED |= {("update", "lr_find"): False}
_BACKBONE_RATES = {"FineTuning": 0.1}  # of the top layer group by strategy, before it could be left open; 1.0 elsewhere
_PATHS = frozenset({"root", "cache_dir", "default_root_dir"})


def to_plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Turn a configuration into plain dicts, lists and values, with every ``${reference}`` resolved.

    Args:
        cfg: the configuration; Hydra's own part is left out.

    Returns:
        Plain Python objects. A value that must still be given stays ``"???"``.

    Raises:
        UserError: a reference names what does not exist.
    """
    if not isinstance(cfg, DictConfig) and not _refers(cfg):
        return copy.deepcopy(dict(cfg))  # plain already
    config = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    part = (
        OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]) if "hydra" in config else config
    )
    try:
        plain = OmegaConf.to_container(part, resolve=True)
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise UserError(f"{where}{str(error).splitlines()[0]}") from error
    return typing.cast(dict[str, Any], plain)


def _refers(value: Any) -> bool:
    """Whether a text at any depth holds a ``${reference}``, or a container is not one of Python's that YAML has."""
    if isinstance(value, Container | tuple):
        return True
    if isinstance(value, Mapping):
        return any(map(_refers, value.values()))
    if isinstance(value, list):
        return any(map(_refers, value))
    return isinstance(value, str) and "${" in value


def config_hash(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Identify what determines a run's numbers.

    Left out are the names of folders, the run's name and tags, the logger, figures, health, forgetting, ``resume``,
    ``reproduces``, ``sweep``, ``adapter`` while it is none, the learning rate where the run finds it itself, options
    that came later while they have their default, and validators unless a callback names the metric that it chooses by;
    the seed and the number of threads are in.

    Args:
        cfg: the run's configuration.

    Returns:
        SHA-256 of the rest as canonical JSON, 64 hexadecimal digits.
    """
    return _hash(to_plain(cfg))


def _hash(plain: Mapping[str, Any]) -> str:
    kept = copy.deepcopy({key: value for key, value in plain.items() if key not in _NOT_HASHED})
    if not _watches(kept.get("callbacks")):
        kept.pop("validator", None)
    if (kept.get("adapter") or {}).get("_target_", NO_ADAPTER) == NO_ADAPTER:
        kept.pop("adapter", None)
    _drop_added(kept)
    if (kept.get("update") or {}).get("lr_find") and isinstance(kept.get("optimizer"), dict):
        kept["optimizer"].pop("lr", None)  # a result of the run, and none of what determines it
    text = json.dumps(_without_paths(first_names(kept)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _drop_added(kept: dict[str, Any]) -> None:
    """Write a configuration as it was written before some options came, where these say nothing else; in place."""
    for (*path, last), default in _ADDED.items():
        node: Any = kept
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and node.get(last, default) == default:
            node.pop(last, None)
    for node in _mappings(kept.get("data")):
        if "protocol" in node and node.get("labels", "") is None:
            node.pop("labels")  # of a pair, which had no such option
    if not kept.get("validation", True):
        kept.pop("validation")
    strategy = kept.get("strategy")
    layers = strategy.get("layers") if isinstance(strategy, dict) else None
    if isinstance(layers, dict) and layers.get("backbone_lr", 1.0) is None and layers.get("decay", 1.0) == 1:
        target = str(kept["strategy"].get("_target_"))
        layers["backbone_lr"] = _BACKBONE_RATES.get(target.rpartition(".")[2], 1.0)


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Find the mappings in a node at any depth: inner data are nodes of their own."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(item)


def _watches(callbacks: Any) -> bool:
    """Whether a callback names what it chooses by, which may be a validator's score."""
    nodes = callbacks.values() if isinstance(callbacks, dict) else ()
    return any(isinstance(node, dict) and node.get("monitor", "auto") != "auto" for node in nodes)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            str(key): _without_paths(item)
            for key, item in value.items()
            if key not in _PATHS and not (key in _NEUTRAL and item == _NEUTRAL[key])
        }
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return value


def comparison_key(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Identify what runs share that differ in adaptation and seed only.

    Args:
        cfg: the run's configuration.

    Returns:
        A hash, 64 hexadecimal digits.
    """
    plain = to_plain(cfg)
    plain["data"].pop("seed", None)
    return _hash({name: node for name, node in plain.items() if name not in ("domain_adaptation", "seed")})
