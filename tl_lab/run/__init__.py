"""One run: plan, build, train, test; figures, predictions, reproduction.

The package is callable: ``tl_lab.run(["data=digits", "seed=1"])`` executes a run (see
:func:`tl_lab.cli.notebook.run`).
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """Makes the package callable, because it would otherwise hide the function of the same name."""

    def __call__(self, overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Any:
        return importlib.import_module("tl_lab.cli.notebook").run(overrides, config_dir)


sys.modules[__name__].__class__ = _Package
