"""Base class of adapters of the library peft that put learned vectors before the tokens of a text."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from tl_lab.adapters.base import Adapter
from tl_lab.adapters.beside_layers import peft_library, write_in_format_of_peft
from tl_lab.backbones.base import Backbone
from tl_lab.backbones.grouping import groups_of, regroup
from tl_lab.errors import UserError
from tl_lab.options import Count
from tl_lab.texts import counted

__all__ = ["BeforeTokens"]


class BeforeTokens(Adapter):
    """Puts learned vectors before the tokens of every text; the backbone's own parameters are frozen.

    The features are pooled over the tokens of the text only. Token types, by which some models distinguish the texts of
    a pair, are omitted.

    Args:
        tokens: number of vectors, at least 1.
    """

    shardable = False
    impossible: ClassVar[frozenset[str]] = frozenset()
    """Families of models that do not support it."""

    def __init__(self, tokens: Count = 10) -> None:
        self.tokens = tokens
        self._owned: frozenset[str] = frozenset()

    @abstractmethod
    def config(self, sizes: Mapping[str, Any]) -> Any:
        """Build the configuration of the library.

        Args:
            sizes: options common to all such methods.
        """

    def objection(self, backbone: type[Backbone], node: Mapping[str, Any]) -> str:
        """Refuse anything but text models of transformers, and families that do not support such vectors."""
        if not backbone.takes_prompts:
            return "it is not a text model of the library transformers, with tokens that vectors could precede"
        family = backbone.family_for(node)
        return f"models of the family {family} do not support it" if family in self.impossible else ""

    def inject(self, backbone: Backbone) -> Backbone:
        """Wrap the model inside the backbone."""
        if reason := self.objection(type(backbone), {}):
            raise UserError(f"{type(self).__name__} does not suit {type(backbone).__name__}: {reason}")
        library, groups = peft_library(self), groups_of(backbone)
        net: Any = backbone.net
        known = {id(parameter) for parameter in backbone.parameters()}
        config: Any = net.config
        sizes = {"num_virtual_tokens": self.tokens, "task_type": "FEATURE_EXTRACTION"}
        sizes |= {"token_dim": backbone.num_features, "num_layers": config.num_hidden_layers}
        sizes["num_attention_heads"] = config.num_attention_heads
        backbone.make_room(self.tokens)  # type: ignore[operator]
        try:
            backbone.net = library.PeftModelForFeatureExtraction(net, self.config(sizes))
            self._try(backbone)
        except UserError:
            raise
        except Exception as error:  # families fail with different errors
            raise UserError(
                f"{type(self).__name__} does not suit models of the family {config.model_type} "
                f"({str(error).partition(chr(10))[0][:120]}): use an adapter of layers, such as lora"
            ) from error
        self._owned = frozenset(name for name, one in backbone.named_parameters() if id(one) not in known)
        regroup(backbone, groups, title="prompts")
        return backbone

    def _try(self, backbone: Backbone) -> None:
        """Run two short texts through the backbone, because some families fail only then."""
        mode = backbone.training
        backbone.eval()
        with torch.no_grad(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            backbone({"ids": torch.ones(2, 2, dtype=torch.int64), "mask": torch.tensor([[1, 1], [1, 0]])})
        backbone.train(mode)

    def owns(self, parameter: str) -> bool:
        """Own the vectors, and the network that computes them."""
        return parameter in self._owned

    def merge(self, backbone: Backbone) -> Backbone:
        """Raise an error, because vectors before the tokens do not change weights."""
        raise UserError(
            f"vectors before the tokens ({type(self).__name__}) cannot be merged into a backbone's weights: start from "
            "a run with an adapter of layers, such as adapter=lora"
        )

    def describe(self) -> str:
        """Describe the trained parameters."""
        return f"{type(self).__name__} of {counted(self.tokens, 'token')}"

    def write(self, backbone: Backbone, folder: Path, base: str) -> None:
        """Write the adapter in the library's own format.

        Args:
            backbone: with the adapter.
            folder: created if it is missing.
            base: source of the base weights, in words or as a name on the hub.
        """
        net: Any = backbone.net
        write_in_format_of_peft(net, net.peft_config["default"], folder, base)
