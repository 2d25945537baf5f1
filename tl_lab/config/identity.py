"""Identity of a configuration: its plain form, and the hash of the options that determine a run's numbers."""

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

__all__ = ["NO_ADAPTER", "config_hash", "difference_from_recorded", "to_plain"]

NO_ADAPTER = "tl_lab.adapters.none.NoAdapter"
"""Target of ``adapter=none``; runs older than adapters have no such node."""

# Options that do not change a run's numbers. Folders differ between machines; their contents are hashed separately.
_NOT_HASHED = frozenset(
    {"resume", "changed_data", "tags", "name", "logger", "figures", "health", "forgetting", "reproduces", "sweep"}
)
# Options added later are omitted while they have their default, so that older runs keep their hash. Options of several
# nodes are given by name alone.
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
_ADDED |= {("backbone", "blocks"): None, ("backbone", "sizes"): None}
_ADDED |= {("strategy", "image_templates"): ["a photo of a {}."]}
_ADDED |= {("strategy", "window"): 5, ("strategy", "negatives"): 5, ("strategy", "adapters"): "shared"}
_ADDED |= {("precision_of_matmul",): "highest", ("update", "graph"): "auto", ("update", "compile"): False}
_ADDED |= {("update", "lr_find"): False, ("data", "split"): "published"}
# options that a class of data had from the start in other classes, where they are part of the hash
_ROLES: dict[str, Any] = {"domain_column": None, "time_column": None, "split": "random"}
_ADDED_TO: dict[str, dict[str, Any]] = {
    "text_table.TextTable": {"split": "random", "unlabelled": "stop"},
    "table.Table": {"unlabelled": "stop"},
    "text_pairs.TextTablePair": {"split": "random", "group_column": None, "time_column": None, "cut": None},
    "tasks_of_table.TasksOfTable": {**_ROLES, "group_column": None},
    "speech_table.SpeechTable": {**_ROLES, "group_column": None},
    "image_table.ImageTable": _ROLES,
    "chest_xray.ChestXray": _ROLES,
    "table.TablePair": {"split": "random"},
    "table_corpora.AdultPair": {"split": "random"},
    "table_corpora.CompasPair": {"split": "random"},
    "table_corpora.ElectricityPair": {"split": "random"},
}
_SETS = "tl_lab.data.sets."
# relative learning rate of the top layer group by strategy, before it was optional; 1.0 for all other strategies
_BACKBONE_RATES = {"FineTuning": 0.1}
_TEMPLATES = ["Text: {text}\nLabel: {label}"]  # of strategy=prompting, before they were optional
_MEASURES_ENERGY = "tl_lab.assess.run_energy.MeasureEnergy"
_PATHS = frozenset({"root", "cache_dir", "default_root_dir"})


def to_plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Convert a configuration to plain dicts, lists and values, with every ``${reference}`` resolved.

    Args:
        cfg: the configuration; Hydra's own part is omitted.

    Returns:
        Plain Python objects. A required value that is missing remains ``"???"``.

    Raises:
        UserError: a reference names an option that does not exist.
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
        from tl_lab.config.shared_options import lacking  # compares with classes, which import PyTorch

        if mistakes := lacking(typing.cast(dict[str, Any], OmegaConf.to_container(part, resolve=False))):
            raise UserError("; ".join(mistakes)) from error
        where = f"{error.full_key}: " if getattr(error, "full_key", None) else ""
        raise UserError(f"{where}{str(error).splitlines()[0]}") from error
    return typing.cast(dict[str, Any], plain)


def _refers(value: Any) -> bool:
    """Whether a value contains a ``${reference}`` or a container that is not a plain dict or list, at any depth."""
    if isinstance(value, Container | tuple):
        return True
    if isinstance(value, Mapping):
        return any(map(_refers, value.values()))
    if isinstance(value, list):
        return any(map(_refers, value))
    return isinstance(value, str) and "${" in value


def config_hash(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Hash the options that determine a run's numbers.

    The hash omits names of folders, the run's name and tags, the logger, figures, health, forgetting, ``resume``,
    ``reproduces``, ``sweep``, ``adapter`` if it is none, the learning rate if the run finds it, options that were
    added later if they have their default, the callback that measures energy, and validators unless a callback names
    the metric that it monitors. It includes the seed and the number of threads.

    Args:
        cfg: the run's configuration.

    Returns:
        SHA-256 of the rest as canonical JSON, 64 hexadecimal digits.
    """
    return _hash(to_plain(cfg))


def difference_from_recorded(cfg: DictConfig | Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Describe the difference between a stored configuration and the one with which its run started.

    Args:
        cfg: configuration read from the run's ``config.yaml``.
        results: content of its ``results.json``.

    Returns:
        A phrase with both hashes; empty if they are equal or no hash was recorded. Options that do not change a run's
        numbers are ignored.
    """
    recorded, found = results.get("config_hash"), config_hash(cfg)
    # a lengthened run writes its two files one after the other, so results.json may have the earlier hash
    if recorded is None or found in (recorded, results.get("config_hash_before")):
        return ""
    return f"was edited since the run started (its hash was {str(recorded)[:10]}, now {found[:10]})"


def _hash(plain: Mapping[str, Any]) -> str:
    kept = copy.deepcopy({key: value for key, value in plain.items() if key not in _NOT_HASHED})
    if not _watches(kept.get("callbacks")):
        kept.pop("validator", None)
    if isinstance(callbacks := kept.get("callbacks"), dict):
        kept["callbacks"] = {name: node for name, node in callbacks.items() if not _only_measures(node)}
    if (kept.get("adapter") or {}).get("_target_", NO_ADAPTER) == NO_ADAPTER:
        kept.pop("adapter", None)
    _drop_added(kept)
    if (kept.get("update") or {}).get("lr_find") and isinstance(kept.get("optimizer"), dict):
        kept["optimizer"].pop("lr", None)  # a result of the run, not an input
    text = json.dumps(_without_paths(first_names(kept)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _drop_added(kept: dict[str, Any]) -> None:
    """Remove options that were added later if they have their default, in place."""
    for (*path, last), default in _ADDED.items():
        node: Any = kept
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        if isinstance(node, dict) and node.get(last, default) == default:
            node.pop(last, None)
    for node in _mappings(kept.get("data")):
        later = _ADDED_TO.get(str(node.get("_target_", "")).removeprefix(_SETS), {})
        for option in [option for option, default in later.items() if node.get(option, "") == default]:
            node.pop(option)
        if "protocol" in node and node.get("labels", "") is None:
            node.pop("labels")  # an option that domain pairs did not have
    if not kept.get("validation", True):
        kept.pop("validation")
    strategy = kept.get("strategy")
    if isinstance(strategy, dict) and strategy.get("templates", "") is None:
        strategy["templates"] = _TEMPLATES
    layers = strategy.get("layers") if isinstance(strategy, dict) else None
    if isinstance(layers, dict) and layers.get("backbone_lr", 1.0) is None and layers.get("decay", 1.0) == 1:
        target = str(kept["strategy"].get("_target_"))
        layers["backbone_lr"] = _BACKBONE_RATES.get(target.rpartition(".")[2], 1.0)


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Find the mappings in a node at any depth; inner data are separate nodes."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(item)


def _watches(callbacks: Any) -> bool:
    """Whether a callback names the metric that it monitors, which may be a validator's score."""
    nodes = callbacks.values() if isinstance(callbacks, dict) else ()
    return any(isinstance(node, dict) and node.get("monitor", "auto") != "auto" for node in nodes)


def _only_measures(node: Any) -> bool:
    """Whether a callback only measures and does not change a run's numbers."""
    return isinstance(node, dict) and node.get("_target_") == _MEASURES_ENERGY


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
    """Compute a hash that is equal for runs that differ only in adaptation and seed.

    Args:
        cfg: the run's configuration.

    Returns:
        A hash, 64 hexadecimal digits.
    """
    plain = to_plain(cfg)
    plain["data"].pop("seed", None)
    return _hash({name: node for name, node in plain.items() if name not in ("domain_adaptation", "seed")})
