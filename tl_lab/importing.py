"""Imports of the modules that bring PyTorch and Lightning."""

import gc
import importlib
import sys
from types import ModuleType

__all__ = ["import_heavy"]


def import_heavy(name: str) -> ModuleType:
    """Import a module and all that it needs, without the garbage collections that would run meanwhile.

    An import creates a million objects and hardly any garbage: without collections it takes a fifth less CPU time.

    Args:
        name: of the module, for example ``tl_lab.run.experiment``.
    """
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.enable()
