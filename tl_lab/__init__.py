"""A laboratory for transfer learning: backbone, strategy, data and domain adaptation compose into one experiment.

A trained model is three lines away::

    import tl_lab
    model = tl_lab.load("outputs/runs/<name>/<time>")
    labels = model.predict(images)
"""

from typing import Any

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # `import tl_lab` stays light: PyTorch is imported when a model is asked for
    if name == "load":
        from tl_lab.importing import import_heavy

        return import_heavy("tl_lab.run.inference").load
    raise AttributeError(f"module 'tl_lab' has no attribute {name!r}")
