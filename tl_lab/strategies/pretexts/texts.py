"""Pretext tasks of texts: language models."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.functional.token_masking import mask_tokens
from tl_lab.model.network import Network
from tl_lab.strategies.pretexts.base import Options, Pretext, Seen

__all__ = ["MaskedTokens", "NextTokens"]


class MaskedTokens(Pretext):
    """Restore hidden tokens of a text (see :func:`~tl_lab.functional.token_masking.mask_tokens`).

    The output layer shares the weights of the embedding, after a layer of its own, as in BERT.
    """

    name = "masked_tokens"
    modality = "text"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self._words = _embedding(network)
        tokeniser = cast(Any, network.backbone.spec).tokeniser
        self.mask_id, self.special = tokeniser.mask_id, torch.tensor(sorted(tokeniser.special_ids))
        if self.mask_id is None:
            raise UserError("strategy.pretext=masked_tokens needs a tokeniser with a mask token; try next_tokens")
        words = self._words()
        self.transform = nn.Sequential(
            nn.Linear(network.num_features, words.shape[1]), nn.GELU(), nn.LayerNorm(words.shape[1])
        )
        self.bias = nn.Parameter(torch.zeros(len(words)))

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Only hidden tokens are scored."""
        x = cast(Mapping[str, Tensor], seen.x)
        ids = x["ids"].cpu()
        candidates = x["mask"].cpu().bool() & ~torch.isin(ids, self.special)
        hidden, chosen = mask_tokens(ids, candidates, self.options.mask_share, self.mask_id, len(self.bias), seen.draw)
        device = x["ids"].device
        states = cast(Any, self.network.backbone).states({**x, "ids": hidden.to(device)})  # (B, L, D)
        scores = F.linear(self.transform(states[chosen.to(device)]), self._words(), self.bias)
        truth = x["ids"][chosen.to(device)]
        return {"loss": F.cross_entropy(scores, truth), "tokens_told": (scores.argmax(1) == truth).float().mean()}


class NextTokens(Pretext):
    """Predict each token from those before it; the output layer is the embedding, as in most language models."""

    name = "next_tokens"
    modality = "text"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self._words = _embedding(network)
        if not network.backbone.causal:
            raise UserError(
                "strategy.pretext=next_tokens needs a network that reads from left to right: backbone=hf_causal; "
                "for encoders there is masked_tokens"
            )

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """The mean over all tokens but the first of each text."""
        x = cast(Mapping[str, Tensor], seen.x)
        states = cast(Any, self.network.backbone).states(x)
        scored = x["mask"][:, 1:].bool()
        scores, truth = F.linear(states[:, :-1][scored], self._words()), x["ids"][:, 1:][scored]
        return {"loss": F.cross_entropy(scores, truth), "tokens_told": (scores.argmax(1) == truth).float().mean()}


def _embedding(network: Network) -> Callable[[], Tensor]:
    """Give the weights of the word embedding as they are now."""
    net = getattr(network.backbone, "net", None)
    if not hasattr(net, "get_input_embeddings"):
        raise UserError(
            f"language modelling needs a text encoder or language model, as backbone=hf_text or hf_causal, not "
            f"{type(network.backbone).__name__}"
        )
    return lambda: cast(Any, net).get_input_embeddings().weight
