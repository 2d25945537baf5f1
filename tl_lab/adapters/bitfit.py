"""BitFit: only biases are trained."""

from tl_lab.adapters.base import Adapter
from tl_lab.backbones.base import Backbone
from tl_lab.errors import UserError

__all__ = ["BitFit"]


class BitFit(Adapter):
    """Train only the biases of a backbone.

    A bias is a parameter called ``bias``, ``bias_...`` (of recurrent layers) or ``..._bias`` (of fused projections).

    References:
        Ben Zaken, Ravfogel and Goldberg, BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
        Language-models, ACL 2022. https://arxiv.org/abs/2106.10199
    """

    def inject(self, backbone: Backbone) -> Backbone:
        """Check that there are biases; nothing is added."""
        if not any(self.owns(name) for name, _ in backbone.named_parameters()):
            raise UserError(
                f"adapter=bitfit trains biases, but {type(backbone).__name__} has none: choose another backbone or "
                "adapter=none"
            )
        return backbone

    def owns(self, parameter: str) -> bool:
        """Own the biases."""
        name = parameter.rpartition(".")[2]
        return name == "bias" or name.startswith("bias_") or name.endswith("_bias")

    def describe(self) -> str:
        """Describe the trained parameters."""
        return "biases of the backbone"
