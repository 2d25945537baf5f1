"""Whether a configuration is right: every node is compared with the class that it names, and nothing is built.

Nothing here imports PyTorch before a configuration is checked against the classes that it names.
"""

import inspect
import json
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from omegaconf import DictConfig

from tl_lab.config.catalogue import choices
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import locate
from tl_lab.errors import UserError, nearest

__all__ = ["PROVIDED", "check", "raise_if_wrong"]

# Constructor arguments that the run fills in, by the node's path: a file may leave them out.
PROVIDED: dict[str, frozenset[str]] = {
    "backbone": frozenset({"in_channels", "input_size"}),
    "strategy": frozenset(
        {"backbone", "adaptation", "problem", "num_outputs", "labels", "optimizer", "scheduler", "seed"}
        | {"gradient_clip_norm", "accumulate_batches", "outputs", "adapter"}
    ),
    "trainer": frozenset({"logger", "callbacks", "default_root_dir", "plugins"}),
}

# Values that no class takes: their types, and the smallest number allowed.
_PLAIN: dict[str, tuple[Any, float | None]] = {
    "seed": (int, 0),
    "threads": (int, 1),
    "channels_last": (bool, None),
    "precision_of_matmul": (Literal["highest", "high", "medium"], None),
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
    "update.graph": (bool | Literal["auto"], None),
    "update.compile": (bool, None),
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

# Arguments that the run always fills in: a value of the user's would be left aside.
_FILLED: dict[str, frozenset[str]] = {
    "strategy": PROVIDED["strategy"],
    "trainer": PROVIDED["trainer"] | {"inference_mode", "reload_dataloaders_every_n_epochs"},
}
_HINTS = {
    "trainer.callbacks": "add callbacks.<name>._target_=<class>",
    "trainer.logger": "see the group logger",
    "trainer.default_root_dir": "set hydra.run.dir",
    "strategy.seed": "set seed",
    "strategy.gradient_clip_norm": "set update.gradient_clip_norm",
    "strategy.accumulate_batches": "set update.accumulate_batches",
    "strategy.graph": "set update.graph",
    "strategy.optimizer": "see the group optimizer",
    "strategy.scheduler": "see the group scheduler",
}

# Keys that speak to Hydra, not to the class.
_DIRECTIVES = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})


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
    for text in (*_check_keys(plain), *_check_plain(plain)):
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


def _check_keys(plain: dict[str, Any]) -> Iterator[str]:
    """Refuse keys that nothing reads; a part of a configuration may be checked alone."""
    if {"strategy", "data"} <= plain.keys():
        groups = {name for name in choices() if "/" not in name} - {"experiment", "search"}
        known = groups | {path.partition(".")[0] for path in _PLAIN}
        yield from (f"there is no key {key!r}; {nearest(key, known)}" for key in plain if key not in known)
    callbacks = plain.get("callbacks") or {}
    known = {path.split(".")[1] for path in _PLAIN if path.startswith("callbacks.")}
    for name, node in callbacks.items():
        if name not in known and not (isinstance(node, dict) and "_target_" in node):
            yield f"callbacks.{name} names no class: give callbacks.{name}._target_; {nearest(name, known)}"
        elif name in known and isinstance(node, dict) and "_target_" in node:
            yield f"callbacks.{name} is the run's own: give a callback of your own another name"
    for path, filled in _FILLED.items():
        for key in sorted(filled & (plain.get(path) or {}).keys()):
            hint = f"; {_HINTS[where]}" if (where := f"{path}.{key}") in _HINTS else ""
            yield f"{where} is filled in by the run: leave it out{hint}"


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
        target = locate(str(node["_target_"]))
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
