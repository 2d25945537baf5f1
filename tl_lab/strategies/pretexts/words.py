"""Pretext tasks on words: word vectors (skip-gram), and ELMo's language model."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tl_lab.data.base import DataModule
from tl_lab.data.inputs.tokenisers import Words
from tl_lab.errors import UserError
from tl_lab.model.network import Network
from tl_lab.strategies.pretexts.base import Options, Pretext, Seen, loss_and_accuracy

__all__ = ["BothDirections", "SkipGram", "word_counts", "word_pairs"]


class SkipGram(Pretext):
    """Distinguish neighbouring words from random ones: word2vec's skip-gram with negative sampling.

    For a word c with the vector v_c, a word o at most ``window`` positions away, and K words n drawn with probabilities
    proportional to count^(3/4): -log s(u_o v_c) - sum_n log s(-u_n v_c), with the logistic function s and separate
    output vectors u.

    References:
        T. Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", NeurIPS 2013,
        equation 4. https://arxiv.org/abs/1310.4546
    """

    name = "skip_gram"
    modality = "text"
    chances: Tensor

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        vectors = getattr(network.backbone, "vectors", None)
        if not isinstance(vectors, nn.Embedding):
            raise UserError("strategy.pretext=skip_gram trains word vectors: use backbone=word_vectors")
        self._vectors = (vectors,)
        self.contexts = nn.Embedding(*vectors.weight.shape)
        nn.init.zeros_(self.contexts.weight)  # as in the authors' program
        self.register_buffer("chances", torch.ones(len(vectors.weight)), persistent=False)

    def prepare(self, data: DataModule) -> None:
        """Count the words of the training set."""
        counts = word_counts(data, len(self.contexts.weight))
        self.chances = counts.to(self.chances.device).float().pow(0.75)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Compute the mean over all pairs of known words within a window."""
        x = cast(Mapping[str, Tensor], seen.x)
        centres, near = word_pairs(x["ids"], x["mask"].bool() & (x["ids"] >= Words.RESERVED), self.options.window)
        if not len(centres):
            return {"loss": 0.0 * self.contexts.weight.sum()}
        drawn = torch.multinomial(
            self.chances.cpu(), len(centres) * self.options.negatives, replacement=True, generator=seen.draw
        )
        drawn = drawn.view(len(centres), -1).to(centres.device)
        v = self._vectors[0](centres)  # (P, D)
        close = (self.contexts(near) * v).sum(1)
        far = torch.einsum("pkd,pd->pk", self.contexts(drawn), v)
        loss = -F.logsigmoid(close).mean() - F.logsigmoid(-far).sum(1).mean()
        return {"loss": loss, "neighbours_told": (close[:, None] > far).float().mean()}


class BothDirections(Pretext):
    """Predict each word from the previous ones and from the following ones, by one LSTM per direction, as in ELMo.

    Both directions share the word vectors and the output layer, which covers the words of the training set.

    References:
        M. Peters et al., "Deep Contextualized Word Representations", NAACL 2018, section 3.1.
        https://arxiv.org/abs/1802.05365
    """

    name = "both_directions"
    modality = "text"
    words: Tensor

    def __init__(self, network: Network, options: Options) -> None:
        super().__init__(network, options)
        lstm = getattr(network.backbone, "lstm", None)
        if not isinstance(lstm, nn.LSTM) or lstm.num_layers != 1:
            raise UserError(
                "strategy.pretext=both_directions needs two independent directions: use "
                "backbone=lstm with backbone.layers=1"
            )
        self._vectors: tuple[nn.Embedding] = (cast(Any, network.backbone).vectors,)
        self.transform = nn.Linear(lstm.hidden_size, self._vectors[0].embedding_dim)
        self.register_buffer("words", torch.arange(len(self._vectors[0].weight)), persistent=False)

    def prepare(self, data: DataModule) -> None:
        """Find the words that occur in the training set."""
        counts = word_counts(data, len(self._vectors[0].weight))
        self.words = counts.nonzero().flatten().to(self.words.device)

    def forward(self, seen: Seen) -> dict[str, Tensor]:
        """Average the losses of both directions over all known words except a text's first (or last) one."""
        x = cast(Mapping[str, Tensor], seen.x)
        forwards, backwards = cast(Any, self.network.backbone).states(x).chunk(2, dim=2)  # (B, L, H) each
        known, inside = torch.isin(x["ids"], self.words), x["mask"].bool()
        outputs = self._vectors[0].weight[self.words]
        losses = []
        for states, truth, scored in (
            (forwards[:, :-1], x["ids"][:, 1:], known[:, 1:] & inside[:, 1:]),
            (backwards[:, 1:], x["ids"][:, :-1], known[:, :-1] & inside[:, 1:]),
        ):
            places = torch.searchsorted(self.words, truth[scored])
            losses.append(loss_and_accuracy(F.linear(self.transform(states[scored]), outputs), places, "told")[0])
        return {"loss": (losses[0] + losses[1]) / 2, "forward_loss": losses[0], "backward_loss": losses[1]}


def word_counts(data: DataModule, vocabulary: int) -> Tensor:
    """Count the known words of a training set, int64 ``(vocabulary,)``."""
    counts = torch.zeros(vocabulary, dtype=torch.int64)
    for batch in data.loader(data.primary, cached=False):
        x = cast(Mapping[str, Tensor], batch.x)
        ids = x["ids"][x["mask"].bool()]
        counts += torch.bincount(ids[ids >= Words.RESERVED].cpu(), minlength=vocabulary)
    return counts


def word_pairs(ids: Tensor, known: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """List all pairs of known words at most ``window`` positions apart, each in both orders.

    Args:
        ids: ``(B, L)``.
        known: whether each is a known word, ``(B, L)``, boolean.
        window: largest distance, at least 1.

    Returns:
        Ids of the centres and of their neighbours, ``(P,)`` each.
    """
    centres, near = [ids[:, :0].flatten()], [ids[:, :0].flatten()]
    for distance in range(1, min(window, ids.shape[1] - 1) + 1):
        both = known[:, :-distance] & known[:, distance:]
        first, second = ids[:, :-distance][both], ids[:, distance:][both]
        centres += [first, second]
        near += [second, first]
    return torch.cat(centres), torch.cat(near)
