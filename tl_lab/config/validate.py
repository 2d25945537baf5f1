"""Checks of configurations: every node is compared with the class that it names, and nothing is built.

PyTorch is not imported until a configuration is compared with the classes that it names.
"""

import ast
import contextlib
import functools
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tl_lab.config.catalogue import choices
from tl_lab.config.declared import (
    ADDED,
    ELSEWHERE,
    FILLED,
    FILLED_OF_LOGGERS,
    OF_LIBRARIES,
    OF_ONE_CLASS,
    PLAIN,
    PROVIDED,
)
from tl_lab.config.fitting import misfits
from tl_lab.config.identity import to_plain
from tl_lab.config.instantiate import locate
from tl_lab.config.shared_options import lacking
from tl_lab.errors import UserError, nearest

__all__ = ["PROVIDED", "Taken", "check", "raise_if_wrong", "taken_by"]

# Keys that are read by Hydra, not by the class.
_DIRECTIVES = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")  # a value that is one interpolation, such as ${seed}


@dataclass(frozen=True)
class Taken:
    """The keyword arguments of a class or function.

    Attributes:
        hints: the annotation of each argument; ``Any`` if there is none.
        needed: names of arguments without a default.
        anything: whether further, unknown names are accepted.
    """

    hints: Mapping[str, Any]
    needed: frozenset[str]
    anything: bool


def raise_if_wrong(cfg: DictConfig | Mapping[str, Any], provided: Mapping[str, Iterable[str]] = PROVIDED) -> None:
    """Raise an error that lists all mistakes of a configuration (see :func:`check`).

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
        One sentence per mistake: unknown or missing keys, values of a wrong type or outside their range, classes that
        do not exist.
    """
    mistakes: dict[tuple[str, str], str] = {}  # a node that is referenced twice is reported once
    plain = to_plain(cfg)
    for text in (*_check_keys(plain), *_check_plain(plain)):
        mistakes[text, ""] = text
    for path, node in _nodes(plain, ""):
        if "_target_" in node:
            filled = FILLED_OF_LOGGERS if path.startswith("logger.") else ()
            for text in _check_node(path, node, frozenset([*provided.get(path, ()), *filled])):
                mistake = text.replace(f"; write {path}.", "; write ")  # the same in a node that refers to this one
                mistakes.setdefault((str(node["_target_"]), mistake), f"{path}{text}")
        else:
            for key in (key for key, value in node.items() if value == "???"):
                where = f"{path}.{key}" if path else key
                mistakes.setdefault((where, key), f"{where} must be given: {where}=<value>")
    return _at_their_source(list(mistakes.values()), cfg)


def _at_their_source(mistakes: list[str], cfg: DictConfig | Mapping[str, Any]) -> list[str]:
    """Leave out mistakes of references, such as ``data.seed: ${seed}``, if the value that they refer to is reported."""
    if not isinstance(cfg, DictConfig):
        return mistakes
    unresolved = OmegaConf.to_container(cfg, resolve=False)
    reported = {text.partition(": ")[0] for text in mistakes}
    return [text for text in mistakes if _reference(unresolved, text.partition(": ")[0]) not in reported]


def _reference(unresolved: Any, path: str) -> str | None:
    """Return the path to which the value at a path refers; None if it is no reference."""
    for key in path.split("."):
        unresolved = unresolved.get(key) if isinstance(unresolved, dict) else None
    whole = _REFERENCE.fullmatch(unresolved) if isinstance(unresolved, str) else None
    return whole[1] if whole else None


def _check_keys(plain: dict[str, Any]) -> Iterator[str]:
    """Report unknown keys and groups without a class; partial configurations are not checked for these."""
    if {"strategy", "data"} <= plain.keys():
        groups = {name for name in choices() if "/" not in name} - {"experiment", "search"}
        known = groups | {path.partition(".")[0] for path in PLAIN}
        for key in (key for key in plain if key not in known):
            inside = [path for path in _paths(plain) if path.endswith(f".{key}")]
            yield f"there is no key {key!r}; {f'did you mean {inside[0]}?' if inside else nearest(key, known)}"
        for group in OF_ONE_CLASS & plain.keys():
            if not _names_class(plain[group]):
                yield f"{group} does not name a class: {group}._target_ is missing; choose one of the group's files"
            else:
                yield from _check_directives(group, plain[group])
        validators = plain["validator"] if isinstance(plain.get("validator"), dict) else {}
        for name, node in validators.items():
            yield from _check_directives(f"validator.{name}", node if isinstance(node, dict) else {})
            if not _names_class(node):
                valid = ", ".join(sorted(choices("validator")["validator"]))
                yield f"validator.{name} is not a validator; valid: {valid}"
        yield from _check_reproduces(plain.get("reproduces"))
        with contextlib.suppress(UserError):  # a class that does not exist is reported with its node
            yield from lacking(plain)
    callbacks = plain.get("callbacks") or {}
    known = {path.split(".")[1] for path in PLAIN if path.startswith("callbacks.")}
    for name, node in callbacks.items():
        if name not in known and not (isinstance(node, dict) and "_target_" in node):
            yield f"callbacks.{name} does not name a class: give callbacks.{name}._target_; {nearest(name, known)}"
        elif name in known and isinstance(node, dict) and "_target_" in node:
            yield f"callbacks.{name} is reserved for the run's own callback: give yours another name"
    for path, filled in FILLED.items():
        for key in sorted(filled & (plain.get(path) or {}).keys()):
            hint = f"; {ELSEWHERE[where]}" if (where := f"{path}.{key}") in ELSEWHERE else ""
            yield f"{where} is filled in by the run: leave it out{hint}"


def _paths(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the path of every option, those of the nearest nodes first."""
    yield from (f"{prefix}{key}" for key in node)
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{prefix}{key}.")


def _check_reproduces(node: Any) -> Iterator[str]:
    """Report mistakes in an experiment's published values and claims."""
    if isinstance(node, dict):
        from tl_lab.results.tables.reproduction import Reproduces

        try:
            Reproduces.from_node(node)
        except UserError as error:
            yield str(error)


def _check_directives(path: str, node: dict[str, Any]) -> Iterator[str]:
    """Report directives with which Hydra would not build the object and the objects in its options."""
    wrong = {"_partial_": path != "optimizer" and node.get("_partial_"), "_args_": node.get("_args_")}
    wrong["_recursive_"] = node.get("_recursive_", True) is not True
    yield from (f"{path}.{key} is not supported here: leave it out" for key, given in wrong.items() if given)


def _check_plain(plain: dict[str, Any]) -> Iterator[str]:
    parents = {path.rpartition(".")[0] for path in PLAIN} - {""}
    top = plain if {"strategy", "data"} <= plain.keys() else {}
    yield from (
        f"{path}: {top[path]!r} is not a mapping" for path in parents & top.keys() if not isinstance(top[path], dict)
    )
    for path, node in _nodes(plain, ""):
        known = {name for parent, _, name in (p.rpartition(".") for p in PLAIN) if parent == path}
        if path in parents:
            unknown = [key for key in node if key not in known and not _names_class(node[key])]
            yield from (f"{path} has no key {key!r}; {nearest(key, known)}" for key in unknown)
        for key in node.keys() & known:
            where = f"{path}.{key}" if path else key
            if node[key] != "???":
                yield from (f"{where}{below}{text}" for below, text in misfits(node[key], PLAIN[where], where))


def _names_class(value: Any) -> bool:
    return isinstance(value, dict) and "_target_" in value


def _nodes(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, dict):
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _nodes(item, f"{path}.{key}" if path else str(key))


def _check_node(path: str, node: dict[str, Any], provided: frozenset[str]) -> Iterator[str]:
    """Report the mistakes of one node; each text continues after the node's path."""
    try:
        taken = taken_by(str(node["_target_"]))
    except UserError as error:
        yield f"._target_: {error}"
        return
    name = str(node["_target_"]).rpartition(".")[2]
    for key, value in node.items():
        if key in _DIRECTIVES or (key not in taken.hints and taken.anything):
            continue
        if key not in taken.hints:
            yield f".{key}: {name} has no option {key!r}; {nearest(key, taken.hints.keys() - provided)}"
        elif value == "???":
            yield f".{key} must be given"
        else:
            yield from (f".{key}{below}{text}" for below, text in misfits(value, taken.hints[key], f"{path}.{key}"))
    if not node.get("_partial_") and not node.get("_args_"):
        for key in sorted(taken.needed - node.keys() - provided):
            yield f" lacks {key!r}, which {name} requires"


def taken_by(name: str) -> Taken:
    """Read the arguments of a class: its own, and those of its bases if it passes on the rest (``**options``).

    Args:
        name: dotted path of a class or function.

    Raises:
        UserError: there is no such class, or it is not trusted.
    """
    return _taken_by(locate(name), name)


@functools.cache
def _taken_by(target: Callable[..., Any], name: str) -> Taken:
    declared = next((known for start, known in OF_LIBRARIES.items() if name.startswith(start)), {})
    hints: dict[str, Any] = {}
    needed: set[str] = set()
    given: set[str] = set()  # arguments that a class passes to its base itself are not options
    anything = False
    for owner, function in _constructors(target):
        parameters = inspect.signature(function).parameters
        known = _hints(function)
        for key, parameter in list(parameters.items()):
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and key != "self" and key not in hints and key not in given:
                annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
                hints[key] = declared.get(key, known.get(key, annotation))
                needed |= {key} if parameter.default is parameter.empty else set()
        given |= _handed_on(function)
        # nn.Module accepts **kwargs only in its signature; the class is examined because torch.compile replaces the
        # constructor
        closed = owner.__module__ == "torch.nn.modules.module"
        anything = not closed and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if not anything:
            break
    return Taken(hints | ADDED.get(name, {}), frozenset(needed), anything)


def _constructors(target: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], Callable[..., Any]]]:
    """Yield a function with itself, or a class and its bases with their constructors."""
    if not inspect.isclass(target):
        yield target, target
        return
    for kind in target.__mro__:
        if inspect.isfunction(constructor := vars(kind).get("__init__")):
            yield kind, constructor


@functools.cache
def _handed_on(function: Callable[..., Any]) -> frozenset[str]:
    """Return the arguments that a constructor passes to its base by name, ``super().__init__(name=...)``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return frozenset()
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    to_base = [call for call in calls if call.func.attr == "__init__"]  # type: ignore[attr-defined]
    return frozenset(word.arg for call in to_base for word in call.keywords if word.arg is not None)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except Exception:  # annotations may use names that are imported for type checking only
        return {}
