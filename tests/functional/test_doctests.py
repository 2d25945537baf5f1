"""Examples in docstrings print the shown output, and every public function of the mathematics has one."""

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import tl_lab.functional
import tl_lab.problems


def _modules(package: ModuleType) -> list[ModuleType]:
    below = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    return [package, *(importlib.import_module(found.name) for found in below)]


def _public(module: ModuleType) -> dict[str, Any]:
    """The functions and classes that a module defines for others, decorated ones included."""
    named = {name: getattr(module, name) for name in module.__all__}
    defined = {name: thing for name, thing in named.items() if inspect.isfunction(thing) or inspect.isclass(thing)}
    return {name: thing for name, thing in defined.items() if thing.__module__ == module.__name__}


def _examples(module: ModuleType) -> list[doctest.DocTest]:
    globs = {**vars(module), "torch": torch, "np": np}
    finder = doctest.DocTestFinder(exclude_empty=True)
    # by object: searched through the module, a decorated function would be passed over
    return [test for name, thing in _public(module).items() for test in finder.find(thing, name, module, globs=globs)]


MODULES = [*_modules(tl_lab.functional), *_modules(tl_lab.problems)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.removeprefix("tl_lab."))
def test_examples_print_what_they_show(module: ModuleType) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for example in _examples(module):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)


def test_every_public_function_and_class_of_functional_has_an_example() -> None:
    modules = _modules(tl_lab.functional)[1:]
    public = {f"{module.__name__}.{name}" for module in modules for name in _public(module)}
    with_example = {
        f"{module.__name__}.{test.name}" for module in modules for test in _examples(module) if test.examples
    }
    assert len(public) > 120
    assert public - with_example == set()
