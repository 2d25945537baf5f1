"""A bidirectional LSTM over word vectors."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability
from tl_lab.backbones.word_vectors import StoredTable, word_table
from tl_lab.errors import UserError, nearest
from tl_lab.functional.pooling import pooled
from tl_lab.options import Count, Probability

__all__ = ["LSTM"]

_POOLINGS = ("mean", "max", "last")


class LSTM(Backbone):
    """A bidirectional LSTM over a text's word vectors with pooled states, a baseline from before transformers.

    Args:
        hidden: units in each direction.
        layers: number of stacked LSTMs.
        pooling: ``mean`` or ``max`` over the words, or ``last``: the last state of each direction.
        dropout: of the word vectors and between layers, in [0, 1).
        pretrained: start from GloVe 6B 50d (see ``python -m tl_lab weights``); False for random vectors of its words.
        weights: file of other word vectors, see :class:`~tl_lab.backbones.word_vectors.WordVectors`.
        max_length: largest number of words of a text.
        table: table of a loaded checkpoint, which replaces any file; filled in by the run.

    Raises:
        UserError: the vectors are not available, or an option is out of its range.

    References:
        A. Graves, J. Schmidhuber, "Framewise phoneme classification with bidirectional LSTM and other neural network
        architectures", Neural Networks 18, 2005.
        A. Conneau et al., "Supervised Learning of Universal Sentence Representations from Natural Language Inference
        Data", EMNLP 2017 (max pooling). https://arxiv.org/abs/1705.02364
    """

    modalities = frozenset({"text"})
    has_layers = False
    pretrained_in_part = True

    def __init__(
        self,
        hidden: Count = 128,
        layers: Count = 1,
        pooling: Literal["mean", "max", "last"] = "max",
        dropout: Probability = 0.2,
        pretrained: bool = True,
        weights: str | None = None,
        max_length: Count = 256,
        table: StoredTable | None = None,
    ) -> None:
        super().__init__()
        if pooling not in _POOLINGS:
            raise UserError(f"backbone.pooling={pooling} is unknown; {nearest(str(pooling), _POOLINGS)}")
        check_count("backbone.hidden", hidden)
        check_count("backbone.layers", layers)
        self.pooling = pooling
        self.vectors, self.spec = word_table(pretrained, weights, max_length, table)
        self.dropout = nn.Dropout(check_probability("backbone.dropout", dropout))
        between = float(dropout) if layers > 1 else 0.0
        self.lstm = nn.LSTM(
            self.vectors.embedding_dim, hidden, layers, batch_first=True, dropout=between, bidirectional=True
        )
        self.num_features = 2 * hidden

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``ids`` and ``mask``, ``(B, L)``, to ``(B, num_features)``; padding after a text's end has no effect."""
        lengths = x["mask"].sum(1).clamp(min=1)  # (B,)
        states, last = self._read(x, lengths)
        if self.pooling == "last":
            return torch.cat([last[-2], last[-1]], 1)  # of both directions in the last layer
        places = torch.arange(states.shape[1], device=states.device)
        inside = places < lengths[:, None]  # (B, L)
        if self.pooling == "max":
            return states.masked_fill(~inside[:, :, None], float("-inf")).amax(1)
        return pooled(states, inside.long())

    def states(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the states of all words, ``(B, L, num_features)``: forward states, then backward states."""
        return self._read(x, x["mask"].sum(1).clamp(min=1))[0]

    def _read(self, x: Mapping[str, Tensor], lengths: Tensor) -> tuple[Tensor, Tensor]:
        vectors = self.dropout(self.vectors(x["ids"]))
        packed = nn.utils.rnn.pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=x["ids"].shape[1])
        return states, last

    def layer_groups(self) -> list[LayerGroup]:
        """Return ``vectors`` and ``lstm``."""
        return [("vectors", [self.vectors]), ("lstm", [self.dropout, self.lstm])]
