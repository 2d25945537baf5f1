"""Training of normalisation layers only."""

import re

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from tl_lab.adapters.base import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.errors import UserError

__all__ = ["NormOnly"]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)
_NAMED = re.compile(r"Norm(Act)?(\d[dD])?$")  # RMSNorm, LayerNorm2d; not a NormFreeBlock


class NormOnly(Adapter):
    """Train only weights and biases of a backbone's normalisation layers (batch, layer, group, RMS).

    Layers of other libraries are recognised by their class's name, which ends with ``Norm`` (``LlamaRMSNorm``,
    ``LayerNorm2d``).

    References:
        Frankle, Schwab and Morcos, Training BatchNorm and Only BatchNorm: On the Expressive Power of Random Features
        in CNNs, ICLR 2021. https://arxiv.org/abs/2003.00152
    """

    def __init__(self) -> None:
        self._owned: frozenset[str] = frozenset()

    def inject(self, backbone: Backbone) -> Backbone:
        """Find the normalisation layers; nothing is added."""
        self._owned = frozenset(
            f"{path}.{name}"
            for path, module in backbone.named_modules()
            if isinstance(module, _NORMS) or _NAMED.search(type(module).__name__)
            for name, _ in module.named_parameters(recurse=False)
        )
        if not self._owned:
            raise UserError(
                f"adapter=norm_only trains normalisation layers, but {type(backbone).__name__} has none with "
                "parameters: choose another backbone (for lenet, conv4, mlp: backbone.batch_norm=true), or adapter=none"
            )
        return backbone

    def owns(self, parameter: str) -> bool:
        """Own the parameters of normalisation layers."""
        return parameter in self._owned

    def describe(self) -> str:
        """Describe the trained parameters."""
        return "normalisation layers of the backbone"
