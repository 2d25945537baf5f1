"""Pretext tasks of texts: language models."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.errors import UserError
from tl_lab.functional.next_sentence import draw_seconds, halves
from tl_lab.functional.token_masking import mask_tokens
from tl_lab.model.network import Network
from tl_lab.strategies.pretexts.base import Options, Pretext, Seen, loss_and_accuracy

__all__ = ["MaskedTokens", "NextTokens"]


class MaskedTokens(Pretext):
    """Predict masked tokens of a text (see :func:`~tl_lab.functional.token_masking.mask_tokens`).

    As in BERT, the output layer follows a hidden layer and shares the weights of the embedding. With ``next_sentence``
    the state of the first token also predicts whether the second text follows the first one: pairs keep their second
    text or receive another one of the batch, and single texts are cut in two (see
    :func:`~tl_lab.functional.next_sentence.draw_seconds`). Both losses are added.
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
        self.following: nn.Sequential | None = None
        if options.next_sentence:
            width = network.num_features
            self.following = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute the loss on masked tokens, and on second texts that are not empty."""
        x = cast(Mapping[str, Tensor], seen.x)
        follows = scored = None
        if self.following is not None:
            x, follows, scored = self.with_seconds(x, seen.draw)
        ids = x["ids"].cpu()
        candidates = x["mask"].cpu().bool() & ~torch.isin(ids, self.special)
        hidden, chosen = mask_tokens(ids, candidates, self.options.mask_share, self.mask_id, len(self.bias), seen.draw)
        device = x["ids"].device
        states = cast(Any, self.network.backbone).states({**x, "ids": hidden.to(device)})  # (B, L, D)
        scores = F.linear(self.transform(states[chosen.to(device)]), self._words(), self.bias)
        loss, accuracy = loss_and_accuracy(scores, x["ids"][chosen.to(device)], "tokens_told")
        if self.following is None or follows is None or scored is None or not bool(scored.any()):
            return {"loss": loss, **accuracy}
        answers, order = self.following(states[:, 0])[scored.to(device)], follows.long()[scored].to(device)
        following, further = loss_and_accuracy(answers, order, "next_told")
        return {"loss": loss + following, **accuracy, "masked_loss": loss, "next_sentence_loss": following, **further}

    def with_seconds(self, x: Mapping[str, Tensor], draw: torch.Generator) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Append a second text to each first one: its own, or that of another sample in the batch.

        Args:
            x: texts or pairs, as returned by the tokeniser.
            draw: random generator.

        Returns:
            Pairs in the form of the tokeniser's; whether the second text follows, ``(B,)``, boolean; and whether there
            is a second text, ``(B,)``, boolean.
        """
        spec = cast(Any, self.network.backbone.spec)
        rows = [ids[mask] for ids, mask in zip(x["ids"].cpu(), x["mask"].cpu().bool(), strict=True)]
        special = [torch.isin(row, self.special) for row in rows]
        types = x["types"].cpu() if "types" in x else torch.zeros_like(x["ids"].cpu())
        parts = []
        for row, hidden, kinds in zip(rows, special, types, strict=True):
            words, second = row[~hidden], kinds[: len(row)][~hidden].bool()
            parts.append((words[~second], words[second]) if bool(second.any()) else halves(words))
        whose, follows = draw_seconds(len(parts), draw)
        pairs, kinds_of = [], []
        for i, (row, hidden) in enumerate(zip(rows, special, strict=True)):
            start, end = row[:1][hidden[:1]], row[-1:][hidden[-1:]]  # empty if the tokeniser adds no special tokens
            first = torch.cat([start, parts[i][0], end])
            second = torch.cat([parts[int(whose[i])][1], end])[: max(0, spec.max_length - len(first))]
            pairs.append([*first.tolist(), *second.tolist()])
            kinds_of.append([0] * len(first) + [int(self._two_types)] * len(second))
        padded = {name: tensor.to(x["ids"].device) for name, tensor in spec.padded(pairs, kinds_of).items()}
        lengths = torch.tensor([len(second) for _, second in parts])
        return padded, follows, (lengths > 0) & (lengths[whose] > 0)

    @property
    def _two_types(self) -> bool:
        """Whether the model has a token type for second texts."""
        config = cast(Any, self.network.backbone).net.config
        return getattr(config, "type_vocab_size", 0) > 1


class NextTokens(Pretext):
    """Predict each token from the previous ones; the output layer is the embedding, as in most language models."""

    name = "next_tokens"
    modality = "text"

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        self._words = _embedding(network)
        if not network.backbone.causal:
            raise UserError(
                "strategy.pretext=next_tokens needs a network that reads from left to right, such as "
                "backbone=hf_causal; use masked_tokens for encoders"
            )

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute the mean loss over all tokens except the first of each text."""
        x = cast(Mapping[str, Tensor], seen.x)
        states = cast(Any, self.network.backbone).states(x)
        scored = x["mask"][:, 1:].bool()
        scores, truth = F.linear(states[:, :-1][scored], self._words()), x["ids"][:, 1:][scored]
        loss, accuracy = loss_and_accuracy(scores, truth, "tokens_told")
        return {"loss": loss, **accuracy}


def _embedding(network: Network) -> Callable[[], Tensor]:
    """Return the current weights of the word embedding."""
    net = getattr(network.backbone, "net", None)
    if not hasattr(net, "get_input_embeddings"):
        raise UserError(
            f"language modelling needs a text encoder or language model, such as backbone=hf_text or hf_causal, not "
            f"{type(network.backbone).__name__}"
        )
    return lambda: cast(Any, net).get_input_embeddings().weight
