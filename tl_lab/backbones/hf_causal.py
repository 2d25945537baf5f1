"""Language models of the library transformers: their features, and their answers to prompts."""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tl_lab.backbones.gguf import converted
from tl_lab.backbones.hf_text import HFText, blocks_of, longest, source_of
from tl_lab.backbones.packaged import packaged
from tl_lab.data.inputs.tokenisers import FastTokeniser
from tl_lab.errors import UserError
from tl_lab.functional.pooling import Pooling, pooled
from tl_lab.options import Count

__all__ = ["HFCausal"]


class HFCausal(HFText):
    """A language model that reads from left to right, by its name on the hub or from a folder.

    As a backbone it returns the pooled last states of its tokens, for any strategy. ``strategy=prompting`` uses its
    probabilities of words.

    Args:
        name: on the hub (``gpt2``; read from the local cache if available), or a folder written by ``save_pretrained``;
            None for SmolLM2-135M-Instruct from its package (see ``python -m tl_lab weights``), which is converted once
            and stored in the cache.
        pretrained: start from the published weights; False for random ones in the same architecture.
        pooling: ``last``: the last token of a text, which depends on all others; or ``mean`` over all tokens.
        blocks: number of blocks to keep, from the first one, for a smaller model; None for all.
        max_length: largest number of tokens of a text; longer texts are cut at the end. Prompts are limited only by the
            model's context.
        max_groups: largest number of layer groups, to which neighbouring ones are joined; None for no limit.
        sizes: see :class:`~tl_lab.backbones.hf_text.HFText`.

    Raises:
        UserError: the model, its tokeniser or a library is not available, or an option is out of its range.

    References:
        L. Ben Allal et al., "SmolLM2: When Smol Goes Big", 2025. https://arxiv.org/abs/2502.02737
    """

    causal = True
    default = "smollm2"

    def __init__(
        self,
        name: str | None = None,
        pretrained: bool = True,
        pooling: Pooling = "last",
        blocks: Count | None = None,
        max_length: Count = 256,
        max_groups: Count | None = None,
        sizes: Mapping[str, Count] | None = None,
    ) -> None:
        super().__init__(
            name=name, pretrained=pretrained, pooling=pooling, max_length=max_length, max_groups=max_groups, sizes=sizes
        )
        self.max_context = longest(self.net.config)
        if blocks is not None:
            self._shorten(blocks)

    def _shorten(self, count: int) -> None:
        """Remove all blocks after the first ``count``."""
        _, blocks = blocks_of(self.net)
        if count > len(blocks):
            raise UserError(f"backbone.blocks={count} is more than the {len(blocks)} blocks of the model")
        del blocks[count:]
        config: Any = self.net.config
        config.num_hidden_layers = count
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:count]
        self.source = f"{self.source}, first {count} blocks" if self.source else ""

    @classmethod
    def family_for(cls, node: Mapping[str, Any]) -> str | None:
        """Read the family from the model's configuration file, if that is available."""
        if node.get("name") is None:
            return "llama"
        with suppress(UserError):
            return super().family_for(node)
        return None

    @classmethod
    def source_for(cls, name: str | None) -> str:
        """Find the folder or the name from which a model is read."""
        if name is not None:
            return source_of(name)
        known = packaged(cls.default)
        ((file, path),) = known.locate().items()
        return str(converted(Path(path), known.files[file]))

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``ids`` and ``mask``, ``(B, L)``, to ``(B, num_features)``."""
        return pooled(self.states(x), x["mask"], self.pooling)

    def states(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the states of all tokens, ``(B, L, num_features)``, without those that an adapter puts before them."""
        net: Any = self.net
        states = net.base_model(input_ids=x["ids"], attention_mask=x["mask"], use_cache=False).last_hidden_state
        return states[:, -x["mask"].shape[1] :]

    # ------------------------------------------------------------------ prompts

    @property
    def tokeniser(self) -> FastTokeniser:
        """The tokeniser."""
        return cast(FastTokeniser, self.spec.tokeniser)

    @property
    def start_token(self) -> int:
        """The token before a text: the model's start token, otherwise its end token; 0 if it has neither."""
        config: Any = self.net.config
        known = (config.bos_token_id, config.eos_token_id)
        return next((one if isinstance(one, int) else one[0] for one in known if one is not None), 0)

    @property
    def _takes_positions(self) -> bool:
        return "position_ids" in inspect.signature(cast(Any, self.net).base_model.forward).parameters

    @property
    def skips_padding(self) -> bool:
        """Whether padding between earlier and later tokens has no effect.

        It has one if a model counts it as a place: in a window of attention, in a recurrent state, or because it takes
        no positions.
        """
        config: Any = cast(Any, self.net).config
        kinds = [*(getattr(config, "layer_types", None) or ()), *(getattr(config, "attention_layers", None) or ())]
        windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
        return self._takes_positions and not any(windows) and set(kinds) <= {"full_attention", "global"}

    @torch.no_grad()
    def read(self, ids: Tensor, mask: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Read tokens after earlier ones.

        Args:
            ids: tokens, ``(B, L)``; shorter rows are padded at their end.
            mask: 1 at tokens, ``(B, P + L)`` with the P earlier tokens, 0 at padding, which does not count as a
                position.
            past: cache that :meth:`read` returned for these; it is changed in place. None at the start.

        Returns:
            Last states, ``(B, L, D)``, and the cache with which to continue.

        Raises:
            UserError: the model is recurrent, so that its cache cannot be repeated for several continuations.
        """
        if getattr(self.net, "_is_stateful", False):
            kind = cast(Any, self.net).config.model_type
            raise UserError(
                f"strategy=prompting needs a model of attention layers, and {kind} has recurrent ones: use another "
                "model, or a strategy that trains"
            )
        base: Any = cast(Any, self.net).base_model
        places = {}
        if self._takes_positions:
            places["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        found = base(input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True, **places)
        return found.last_hidden_state, found.past_key_values

    @torch.no_grad()
    def next_token(self, states: Tensor) -> Tensor:
        """Compute log-probabilities of the token that follows states ``(..., D)``: ``(..., vocabulary)``."""
        net: Any = self.net
        return net.get_output_embeddings()(states).float().log_softmax(-1)
