"""Feature extractors: what knowledge is carried over.

Each gives ``(B, num_features)`` for a batch, says what it wants to be fed, and names its layers from shallow to
deep. The two that wrap a model library import it only when they are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tl_lab.backbones.base import Backbone
from tl_lab.backbones.conv4 import Conv4
from tl_lab.backbones.lenet import LeNet
from tl_lab.backbones.mlp import MLP

if TYPE_CHECKING:
    from tl_lab.backbones.timm import Timm
    from tl_lab.backbones.torchvision import Torchvision

__all__ = ["MLP", "Backbone", "Conv4", "LeNet", "Timm", "Torchvision"]

_LAZY = {"Timm": "tl_lab.backbones.timm", "Torchvision": "tl_lab.backbones.torchvision"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
