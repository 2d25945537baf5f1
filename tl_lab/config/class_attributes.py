"""Read constant attributes of classes from their source, without importing them.

Importing all data sets takes many seconds, because their modules import PyTorch. Lists of choices need only a few
constants, which this module reads from syntax trees.
"""

import ast
import functools
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["class_attribute"]


def class_attribute(name: str, attribute: str, default: Any = None) -> Any:
    """Read an attribute of a class, or of the nearest of its bases that sets it.

    Args:
        name: name of the class, ``package.module.Class``.
        attribute: name of an attribute whose value is a literal or a ``frozenset`` of literals.
        default: returned if no class sets the attribute to such a value.

    Returns:
        The value, or the default.
    """
    module, _, last = name.rpartition(".")
    lineage = list(_lineage(module, last))
    # as in Python's method resolution order, a base shared by several classes comes after all of them
    for node in reversed(dict.fromkeys(reversed(lineage))):
        for statement in node.body:
            value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
            if value is not None and attribute in _assigned(statement):
                with suppress(ValueError):
                    return _literal(value)
    return default


def _lineage(module: str, name: str, below: frozenset[tuple[str, str]] = frozenset()) -> Iterator[ast.ClassDef]:
    """Return a class and its bases, depth first; classes whose source cannot be read are left out."""
    tree = _tree(module)
    if (
        tree is None or (module, name) in below
    ):  # a class that is its own base, by mistake or through an import of the same name
        return
    below |= {(module, name)}
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            yield statement
            for base in statement.bases:
                plain = base.value if isinstance(base, ast.Subscript) else base  # Base[T]
                if isinstance(plain, ast.Name):
                    yield from _imported(tree, module, plain.id, below)
                    yield from _lineage(module, plain.id, below)
            return
    yield from _imported(tree, module, name, below)


def _imported(tree: ast.Module, module: str, name: str, below: frozenset[tuple[str, str]]) -> Iterator[ast.ClassDef]:
    for statement in tree.body:
        if not isinstance(statement, ast.ImportFrom):
            continue
        package = module.rsplit(".", statement.level)[0] if statement.level else ""
        source = ".".join(filter(None, (package, statement.module)))
        for alias in statement.names:
            if (alias.asname or alias.name) == name:
                yield from _lineage(source, alias.name, below)
                return


@functools.cache
def _tree(module: str) -> ast.Module | None:
    with suppress(Exception):  # an outside package that cannot be imported is reported when it is used
        spec = find_spec(module)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return None


def _assigned(statement: ast.stmt) -> set[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _literal(value: ast.expr) -> Any:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "frozenset":
        return frozenset(ast.literal_eval(value.args[0]) if value.args else ())
    return ast.literal_eval(value)
