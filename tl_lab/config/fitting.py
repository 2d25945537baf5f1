"""Check values from a file against annotated parameters, and describe annotations in words."""

import inspect
import json
import math
import os
import re
import shlex
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, is_typeddict

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MaxLen, MinLen

from tl_lab.errors import nearest

__all__ = ["misfits", "override"]

_WORD = r"[\w./+-]+"  # a text without quotes on the command line
_PLAIN = r"[\w.=,/+\[\]-]+"  # an override without quotes for the shell
_IN_LIST = r"\.\d+(\.|$)"  # an option in a list, which no override can set
_WHOLE = 2**63
"""The largest integer that libraries accept."""


def misfits(value: Any, hint: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Compare a value with an annotation.

    Args:
        value: a plain value from a file.
        hint: a type; ``Annotated`` types declare ranges by :mod:`annotated_types`, or the keys of a mapping by a
            ``TypedDict``.
        where: the option's path, for a message that shows how to write its value; empty to leave that out.

    Yields:
        For each mistake, the path below the value, ``""`` or ``".key"``, and the part of a sentence that follows it.
    """
    keys = _keys_of(hint)
    if keys is None or not isinstance(value, dict):
        if not _fits(value, hint):
            yield "", f": {_show(value)} is not {_describe(hint)}{_remedy(value, hint, where)}"
        return
    hints = typing.get_type_hints(keys, include_extras=True)
    for name, item in value.items():
        if name not in hints:
            yield "", f" has no key {name!r}; {nearest(str(name), hints)}"
        else:
            yield from (
                (f".{name}{path}", text) for path, text in misfits(item, hints[name], where and f"{where}.{name}")
            )
    for name in sorted(keys.__required_keys__ - value.keys()):
        yield "", f" lacks {name!r}"


def _keys_of(hint: Any) -> Any:
    """Return the ``TypedDict`` that declares the keys of a mapping, or None if there is none."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((keys for member in typing.get_args(hint) if (keys := _keys_of(member)) is not None), None)
    return next((one for one in getattr(hint, "__metadata__", ()) if is_typeddict(one)), None)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value matches; True if this cannot be decided."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, dict) and "_target_" in value:
        return _admits_objects(hint, bool(value.get("_partial_")))  # checked against its own class
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin is Literal:
        return any(value == allowed and type(value) is type(allowed) for allowed in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, member) for member in arguments)
    if origin is typing.Annotated:
        return _fits(value, arguments[0]) and all(_within(value, limit) for limit in _limits(hint))
    kind = origin or hint
    if not inspect.isclass(kind) or isinstance(hint, str):
        return True
    return _fits_class(value, kind, arguments)


def _admits_objects(hint: Any, partial: bool) -> bool:
    """Whether an annotation admits objects of a class, not only numbers, texts and mappings.

    With ``partial``, return whether it admits a callable.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_admits_objects(member, partial) for member in arguments)
    if origin is typing.Annotated:
        return _admits_objects(arguments[0], partial)
    kind = origin or hint
    if partial and inspect.isclass(kind) and not getattr(kind, "_is_protocol", False):
        return kind in (Any, Callable, object, type)
    plain = inspect.isclass(kind) and issubclass(kind, int | float | str | Mapping | list | tuple | type(None))
    return not (plain or hint is None or origin is Literal or origin is Sequence)


def _fits_class(value: Any, kind: type, arguments: tuple[Any, ...]) -> bool:
    if kind is object or getattr(kind, "_is_protocol", False):
        return True
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _WHOLE
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


def _limits(hint: Any) -> list[Any]:
    """List the limits in an annotation, with intervals and lengths split into bounds."""
    found: list[Any] = []
    for one in hint.__metadata__:
        found += one if isinstance(one, GroupedMetadata) else [one]
    return found


def _within(value: Any, limit: Any) -> bool:
    match limit:
        case Ge(ge=bound):
            return bool(value >= bound)
        case Gt(gt=bound):
            return bool(value > bound)
        case Le(le=bound):
            return bool(value <= bound)
        case Lt(lt=bound):
            return bool(value < bound)
        case MinLen(min_length=length):
            return len(value) >= length
        case MaxLen(max_length=length):
            return len(value) <= length
    return True


# ---------------------------------------------------------------------- words

_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a mapping",
    type(None): "null",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}


def _show(value: Any) -> str:
    """Format a value as in a file."""
    return json.dumps(value, default=str, ensure_ascii=False)


def _describe(hint: Any) -> str:
    """Describe an annotation in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(_show(allowed) for allowed in arguments)
    if origin in (typing.Union, types.UnionType):
        # objects of other classes cannot be written in a file
        known = [member for member in arguments if member in _WORDS or typing.get_origin(member)]
        return " or ".join(dict.fromkeys(map(_describe, known or arguments)))
    if origin is typing.Annotated:
        return _describe_limited(hint, arguments[0])
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        what = _of(arguments[0]).removeprefix(" of") if len(set(arguments)) == 1 else ""
        return f"a list of {len(arguments)}{what or ' values'}"
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a mapping"
    if inspect.isclass(origin) and issubclass(origin, Iterable):
        return "a list" + _of(arguments[0])
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _of(item: Any) -> str:
    plain = typing.get_args(item)[0] if typing.get_origin(item) is typing.Annotated else item
    return f" of {_PLURALS[plain]}{_range(item)}" if plain in _PLURALS else ""


def _describe_limited(hint: Any, plain: Any) -> str:
    lengths = {type(one): one for one in _limits(hint)}
    least, most = (getattr(lengths.get(kind), name, None) for kind, name in _LENGTHS)
    if least is None:
        return _describe(plain) + _range(hint)
    count = str(least) if least == most else "one or more" if least == 1 else f"at least {least}"
    return _describe(plain).replace("a list of ", f"a list of {count} ", 1)


def _remedy(value: Any, hint: Any, where: str) -> str:
    """Show how to write a single value as the list that is needed, or the only value of a list alone."""
    if not where or isinstance(value, dict) or re.search(_IN_LIST, where):
        return ""
    if isinstance(value, list):
        forms = value if len(value) == 1 else []
    else:
        forms = [[value] * length for length in (1, 2, 3, 4)]  # a list of a fixed length has a few values
    fitting = next((form for form in forms if _fits(form, hint)), None)
    if fitting is None:
        return ""
    return f"; write {override(where, fitting)}"


def override(where: str, value: Any) -> str:
    """Write an option and its value for the shell, with quotes where they are needed.

    Args:
        where: path of the option.
        value: a plain value or a list of such.
    """
    written = f"{where}={_written(value)}"
    return written if re.fullmatch(_PLAIN, written) else shlex.quote(written)


def _written(value: Any) -> str:
    """Write a value as on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return value if isinstance(value, str) and re.fullmatch(_WORD, value) else _show(value)


_LENGTHS = ((MinLen, "min_length"), (MaxLen, "max_length"))


def _range(hint: Any) -> str:
    """Describe the limits of a number in words, with a leading space."""
    if typing.get_origin(hint) is not typing.Annotated:
        return ""
    ends = {type(one): one for one in _limits(hint)}
    if Ge in ends and Le in ends:
        return f" from {ends[Ge].ge} to {ends[Le].le}"
    words = [
        f"{word} {getattr(ends[kind], name)}"
        for kind, name, word in (
            (Ge, "ge", "of at least"),
            (Gt, "gt", "above"),
            (Le, "le", "of at most"),
            (Lt, "lt", "below"),
        )
        if kind in ends
    ]
    return "".join(f" {' and '.join(words)}" if words else "")
