"""Configurations: where they lie, whether they are right, what identifies them.

Nothing here imports PyTorch before a configuration is checked against the classes that it names.
"""

import hashlib
import importlib
import inspect
import json
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tl_lab.errors import UserError, nearest

__all__ = [
    "PROVIDED",
    "check",
    "choices",
    "compose",
    "conf_dir",
    "config_hash",
    "describe",
    "raise_if_wrong",
    "to_plain",
]

# Constructor arguments that the run fills in, by the node's path: a file may leave them out.
PROVIDED: dict[str, frozenset[str]] = {
    "backbone": frozenset({"in_channels", "input_size"}),
    "strategy": frozenset(
        {"backbone", "adaptation", "num_classes", "class_counts", "optimizer", "scheduler", "seed"}
        | {"gradient_clip_norm", "accumulate_batches", "outputs"}
    ),
    "trainer": frozenset({"logger", "callbacks", "default_root_dir", "plugins"}),
}

# These do not change a run's numbers. Folders differ between machines; what is in them is hashed apart.
_NOT_HASHED = frozenset({"resume", "tags", "name", "logger", "figures", "health", "reproduces", "sweep"})
_PATHS = frozenset({"root", "cache_dir", "default_root_dir"})

# Values that no class takes: their types, and the smallest number allowed.
_PLAIN: dict[str, tuple[Any, float | None]] = {
    "seed": (int, 0),
    "threads": (int, 1),
    "channels_last": (bool, None),
    "name": (str, None),
    "tags": (list[str], None),
    "init_from": (str | None, None),
    "resume": (str | None, None),
    "reproduces": (dict | None, None),
    "figures": (bool | Literal["auto"], None),
    "health": (bool, None),
    "evaluate": (Literal["last", "best"], None),
    "sweep.resume": (bool, None),
    "sweep.objective": (str, None),
    "sweep.chosen": (str | None, None),
    "sweep.tuned": (str | None, None),
    "sweep.trial": (bool, None),
    "update.gradient_clip_norm": (float | None, 0),
    "update.accumulate_batches": (int, 1),
    "logger.mode": (Literal["offline", "online", "disabled"], None),
    "logger.project": (str, None),
    "logger.entity": (str | None, None),
    "logger.group": (str | None, None),
    "logger.job_type": (str | None, None),
    "logger.notes": (str | None, None),
    "logger.log_figures": (bool, None),
    "logger.log_model": (bool, None),
    "callbacks.checkpoint.every_n_epochs": (int, 1),
    "callbacks.checkpoint.best": (bool, None),
    "callbacks.checkpoint.monitor": (str, None),
    "callbacks.checkpoint.mode": (Literal["auto", "max", "min"], None),
    "callbacks.early_stopping.enabled": (bool, None),
    "callbacks.early_stopping.monitor": (str, None),
    "callbacks.early_stopping.mode": (Literal["auto", "max", "min"], None),
    "callbacks.early_stopping.patience": (int, 1),
    "callbacks.early_stopping.min_delta": (float, 0),
}

# Keys that speak to Hydra, not to the class.
_DIRECTIVES = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})


def conf_dir() -> Path:
    """Find the folder of configuration files, in an installed package or in the repository beside it."""
    installed = Path(__file__).resolve().parent / "conf"
    return installed if installed.is_dir() else installed.parent.parent / "conf"


def choices(group: str | None = None) -> dict[str, dict[str, Path]]:
    """List the choices of each group.

    Args:
        group: one group's name; ``None`` for all of them.

    Returns:
        For each group its choices and their files. A choice in a sub-folder is named ``folder/choice``.

    Raises:
        UserError: there is no such group.
    """
    folders = {folder.name: folder for folder in sorted(conf_dir().iterdir()) if folder.is_dir()}
    if (own := folders.pop("hydra", None)) is not None:  # its groups lie one level deeper
        folders |= {f"hydra/{folder.name}": folder for folder in sorted(own.iterdir()) if folder.is_dir()}
    folders = {name: folder for name, folder in folders.items() if any(folder.rglob("*.yaml"))}
    if group is not None and group not in folders:
        raise UserError(f"there is no group {group!r}; {nearest(group, folders)}")
    return {
        name: {str(file.relative_to(folder).with_suffix("")): file for file in sorted(folder.rglob("*.yaml"))}
        for name, folder in folders.items()
        if group in (None, name)
    }


def describe(file: Path) -> str:
    """Read what a choice is: the comment on the first line of its file (after a package directive), or ``""``."""
    with file.open(encoding="utf-8") as lines:
        first = next((line.strip() for line in lines if not line.startswith("# @")), "")
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a resolved configuration as the command line would, for notebooks and tests.

    Args:
        overrides: ``["backbone=mlp", "seed=1"]``.

    Returns:
        The run's configuration, without Hydra's own part.

    Raises:
        UserError: something in it refers to what does not exist.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return OmegaConf.create(to_plain(config))
    finally:
        HydraConfig.instance().cfg = before


def to_plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Turn a configuration into plain dicts, lists and values, with every ``${reference}`` resolved.

    Args:
        cfg: the configuration; Hydra's own part is left out.

    Returns:
        Plain Python objects. A value that must still be given stays ``"???"``.

    Raises:
        UserError: a reference names what does not exist.
    """
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


def config_hash(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Identify what determines a run's numbers.

    Left out are the names of folders, the run's name and tags, the logger, figures, health, ``resume``, ``reproduces``,
    ``sweep``, and validators unless a callback names the metric that it chooses by; the seed and the number of threads
    are in.

    Args:
        cfg: the run's configuration.

    Returns:
        SHA-256 of the rest as canonical JSON, 64 hexadecimal digits.
    """
    kept = {key: value for key, value in to_plain(cfg).items() if key not in _NOT_HASHED}
    if not _watches(kept.get("callbacks")):
        kept.pop("validator", None)
    text = json.dumps(_without_paths(kept), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _watches(callbacks: Any) -> bool:
    """Whether a callback names what it chooses by, which may be a validator's score."""
    nodes = callbacks.values() if isinstance(callbacks, dict) else ()
    return any(isinstance(node, dict) and node.get("monitor", "auto") != "auto" for node in nodes)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_paths(item) for key, item in value.items() if key not in _PATHS}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return value


def raise_if_wrong(cfg: DictConfig | Mapping[str, Any], provided: Mapping[str, Iterable[str]] = PROVIDED) -> None:
    """Stop on a wrong configuration, saying all that is wrong (see :func:`check`).

    Raises:
        UserError: there is at least one mistake.
    """
    mistakes = check(cfg, provided)
    if len(mistakes) == 1:
        raise UserError(mistakes[0])
    if mistakes:
        listed = "; ".join(f"({number}) {text}" for number, text in enumerate(mistakes, 1))
        raise UserError(f"the configuration has {len(mistakes)} mistakes: {listed}")


def check(cfg: DictConfig | Mapping[str, Any], provided: Mapping[str, Iterable[str]] = PROVIDED) -> list[str]:
    """Compare every node that names a class with that class's constructor, without building anything.

    Args:
        cfg: the run's configuration.
        provided: arguments that the run fills in, by the node's path.

    Returns:
        One sentence a mistake: unknown keys, missing ones, values of a wrong type, classes that do not exist.
    """
    mistakes: dict[tuple[str, str], str] = {}  # a node that is referred to twice is reported once
    plain = to_plain(cfg)
    for text in _check_plain(plain):
        mistakes[text, ""] = text
    for path, node in _nodes(plain, ""):
        if "_target_" in node:
            for text in _check_node(node, frozenset(provided.get(path, ()))):
                mistakes.setdefault((str(node["_target_"]), text), f"{path}{text}")
        else:
            for key in (key for key, value in node.items() if value == "???"):
                where = f"{path}.{key}" if path else key
                mistakes.setdefault((where, key), f"{where} must be given: {where}=<value>")
    return list(mistakes.values())


def _check_plain(plain: dict[str, Any]) -> Iterator[str]:
    parents = {path.rpartition(".")[0] for path in _PLAIN} - {""}
    for path, node in _nodes(plain, ""):
        known = {name for parent, _, name in (p.rpartition(".") for p in _PLAIN) if parent == path}
        if path in parents:
            yield from (f"{path} has no key {key!r}; {nearest(key, known)}" for key in node if key not in known)
        for key in node.keys() & known:
            where = f"{path}.{key}" if path else key
            hint, smallest = _PLAIN[where]
            if node[key] == "???":
                continue
            if not _fits(node[key], hint):
                yield f"{where}: {_show(node[key])} is not {_say(hint)}"
            elif smallest is not None and node[key] is not None and node[key] < smallest:
                yield f"{where}: {node[key]!r} is below {smallest}, the smallest value allowed"


def _nodes(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _nodes(item, f"{path}.{key}" if path else str(key))


def _check_node(node: dict[str, Any], provided: frozenset[str]) -> Iterator[str]:
    """Say what is wrong with one node; each text goes on from the node's path."""
    try:
        target = _locate(str(node["_target_"]))
    except UserError as error:
        yield f"._target_: {error}"
        return
    name = str(node["_target_"]).rpartition(".")[2]
    parameters = inspect.signature(target).parameters
    hints = _hints(target)
    keywords = {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in node.items():
        if key in _DIRECTIVES or (key not in keywords and takes_any):
            continue
        if key not in keywords:
            yield f".{key}: {name} takes no {key!r}; {nearest(key, keywords)}"
            continue
        if value == "???":
            yield f".{key} must be given"
            continue
        hint = hints.get(key, keywords[key].annotation)
        if hint is not inspect.Parameter.empty and not _fits(value, hint):
            yield f".{key}: {_show(value)} is not {_say(hint)}"
    if not node.get("_partial_") and not node.get("_args_"):
        for key, parameter in keywords.items():
            if parameter.default is parameter.empty and key not in node and key not in provided:
                yield f" lacks {key!r}, which {name} needs"


def _locate(path: str) -> Callable[..., Any]:
    """Import the object of a dotted path, or say which part of the path does not exist."""
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
            # a module that lies at this path, but lacks another one, is not misspelt
            hint = _close(part, found) if error.name == here or depth == len(parts) - 1 else f" ({error})"
            raise UserError(f"{path!r} does not exist{hint}") from error
        except (ImportError, ValueError) as error:
            raise UserError(f"{path!r} cannot be imported ({error})") from error
    if not callable(found):
        raise UserError(f"{path!r} is neither a class nor a function")
    return typing.cast(Callable[..., Any], found)


def _close(name: str, module: Any) -> str:
    public = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"] if module else []
    hint = nearest(name, public) if public else ""
    return f"; {hint}" if hint.startswith("did") else ""  # all names of a module would be no help


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # annotations may name what is imported for type checking only: then nothing is known
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from a file can serve an annotated parameter; True where that cannot be told."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, dict) and "_target_" in value:
        return True  # another node's object; its own class decides
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin is Literal:
        return any(value == allowed and type(value) is type(allowed) for allowed in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, member) for member in arguments)
    if origin is typing.Annotated:
        return _fits(value, arguments[0])
    kind = origin or hint
    if not inspect.isclass(kind) or isinstance(hint, str):
        return True
    return _fits_class(value, kind, arguments)


def _fits_class(value: Any, kind: type, arguments: tuple[Any, ...]) -> bool:
    if kind is object or getattr(kind, "_is_protocol", False):
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, str):
        return issubclass(kind, str | os.PathLike) or hasattr(kind, "__members__")  # an enum by name
    if isinstance(value, dict):
        return issubclass(kind, Mapping) and (
            len(arguments) != 2
            or all(_fits(key, arguments[0]) and _fits(item, arguments[1]) for key, item in value.items())
        )
    if isinstance(value, list):
        return _fits_list(value, kind, arguments)
    return isinstance(value, kind)


def _fits_list(value: list[Any], kind: type, arguments: tuple[Any, ...]) -> bool:
    if issubclass(kind, str | Mapping) or not (issubclass(kind, Iterable) and hasattr(kind, "__iter__")):
        return False
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    return not arguments or all(_fits(item, arguments[0]) for item in value)


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
_PLURALS = {int: " of whole numbers", float: " of numbers", str: " of texts"}


def _show(value: Any) -> str:
    """Write a value as a file would."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _say(hint: Any) -> str:
    """Put an annotation in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(_show(allowed) for allowed in arguments)
    if origin in (typing.Union, types.UnionType):
        # classes other than these cannot be written in a file
        known = [member for member in arguments if member in _WORDS or typing.get_origin(member)]
        return " or ".join(dict.fromkeys(map(_say, known or arguments)))
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return f"a list of {len(arguments)} values"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        return "a list" + _PLURALS.get(arguments[0], "")
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))
