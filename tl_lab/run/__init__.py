"""One run: plan, build, train, test; figures, predictions, reproduction.

The package can be called, too: ``tl_lab.run(["data=digits", "seed=1"])`` carries a run out (see
:func:`tl_lab.cli.notebook.run`).
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """Lets the package be called, since the function of the same name would hide it."""

    def __call__(self, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Any:
        return importlib.import_module("tl_lab.cli.notebook").run(overrides, config_dir)


sys.modules[__name__].__class__ = _Package
