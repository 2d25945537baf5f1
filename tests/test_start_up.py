"""A start imports only the modules that its run uses; others are imported on demand."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "tl_lab"
# seconds each; Lightning's own imports are not ours to choose
LATE = {"pandas", "sklearn", "scipy", "torchvision", "timm", "wandb"}


def top_level(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Return the statements that run when a module is imported, but for the bodies of classes."""
    for statement in statements:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield statement
        for part in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try | ast.With):
                yield from top_level(getattr(statement, part, []))


@functools.cache
def imports(module: str) -> set[str]:
    """Name the modules that a module of the project imports when it is imported itself."""
    path = PACKAGE.parent / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for statement in top_level(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            found |= {statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)}
    return found


def exists(module: str) -> bool:
    path = PACKAGE.parent / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def reached(*modules: str) -> dict[str, set[str]]:
    """Follow imports within the project: each module, and what it imports."""
    found: dict[str, set[str]] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or not exists(module):
            continue
        found[module] = imports(module)
        parents = [module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)]
        waiting += [name for name in (*found[module], *parents) if name.split(".")[0] == "tl_lab"]
    return found


RUN = ("tl_lab.run.experiment", "tl_lab.strategies.from_scratch", "tl_lab.backbones.lenet", "tl_lab.data.sets.digits")


@pytest.mark.parametrize("start", [RUN, ("tl_lab.cli.main",), ("tl_lab.run.inference",)], ids=["run", "cli", "predict"])
def test_a_start_imports_what_it_uses(start: tuple[str, ...]) -> None:
    late = {
        f"{module} imports {name}"
        for module, names in reached(*start).items()
        for name in names
        if any(name == one or name.startswith(f"{one}.") for one in LATE)
    }
    assert not late


def test_the_command_line_imports_no_torch() -> None:
    heavy = {"torch", "pytorch_lightning", "numpy", "matplotlib"}
    modules = reached("tl_lab.cli.main", "tl_lab.cli.train", "tl_lab.config.natural")
    assert {module for module, names in modules.items() if {name.split(".")[0] for name in names} & heavy} == set()


def test_imports_are_followed() -> None:
    modules = reached(*RUN)
    assert {"tl_lab.data.base", "tl_lab.data.sets.printed_digits", "tl_lab.run.trainer", "tl_lab"} <= set(modules)
    assert "tl_lab.results.folder.weights_and_biases" not in modules
    assert "pytorch_lightning" in modules["tl_lab.run.experiment"]
