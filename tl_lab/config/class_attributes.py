"""Read constant attributes of classes from their source, without importing them.

Importing all data sets takes many seconds, because their modules import PyTorch. A list of choices needs only a few
constants, which are read from the syntax trees of the modules.
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
        name: of the class, ``package.module.Class``.
        attribute: whose value is a literal or a ``frozenset`` of literals.
        default: returned if no class sets the attribute to such a value.
    """
    module, _, last = name.rpartition(".")
    lineage = list(_lineage(module, last))
    # as in Python's own order, a base that several classes share comes after all of them
    for node in reversed(dict.fromkeys(reversed(lineage))):
        for statement in node.body:
            value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
            if value is not None and attribute in _assigned(statement):
                with suppress(ValueError):
                    return _literal(value)
    return default


def _lineage(module: str, name: str) -> Iterator[ast.ClassDef]:
    """Return a class and its bases, depth first; classes whose source cannot be read are left out."""
    tree = _tree(module)
    for statement in tree.body if tree is not None else ():
        if isinstance(statement, ast.ClassDef) and statement.name == name:
            yield statement
            for base in statement.bases:
                if isinstance(base, ast.Name):
                    yield from _lineage(module, base.id)
            return
        if isinstance(statement, ast.ImportFrom) and statement.module is not None and not statement.level:
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    yield from _lineage(statement.module, alias.name)
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
