"""Transfer-learning experiments, composed of a backbone, a strategy, data and a domain adaptation.

Run an experiment and use its model::

    import tl_lab

    finished = tl_lab.run(["data=digits", "seed=1"])  # or python train.py data=digits seed=1
    finished.metrics, finished.history, finished.model

    model = tl_lab.load("outputs/runs/<name>/<time>")
    labels = model.predict(images).labels
"""

import importlib
from typing import Any

import tl_lab.problems.metrics  # noqa: F401  # tables need them wherever they are written

__version__ = "0.2.0"
__all__ = ["__version__", "compose", "load", "run"]


def __getattr__(name: str) -> Any:
    # `import tl_lab` stays light: PyTorch is imported when a model is asked for
    if name == "load":
        from tl_lab.importing import import_heavy

        return import_heavy("tl_lab.run.inference").load
    if name == "compose":
        return importlib.import_module("tl_lab.config").compose
    if name == "run":
        return importlib.import_module("tl_lab.run")  # can be called
    raise AttributeError(f"module 'tl_lab' has no attribute {name!r}")
