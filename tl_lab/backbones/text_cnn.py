"""Convolutions over word vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count, check_probability
from tl_lab.backbones.word_vectors import StoredTable, word_table
from tl_lab.errors import UserError
from tl_lab.options import Count, Probability

__all__ = ["TextCNN"]


class TextCNN(Backbone):
    """Filters over a few neighbouring words, with max-pooling over the text.

    Args:
        widths: of the filters, in words.
        maps: filters of each width.
        dropout: of the features, in [0, 1).
        pretrained: start from GloVe 6B 50d (see ``python -m tl_lab weights``); False for random vectors of its words.
        weights: file of other word vectors, see :class:`~tl_lab.backbones.word_vectors.WordVectors`.
        max_length: largest number of words of a text.
        table: table of a loaded checkpoint, which replaces any file; filled in by the run.

    Raises:
        UserError: the vectors are not available, or an option is out of its range.

    References:
        Y. Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014.
        https://arxiv.org/abs/1408.5882 (widths 3, 4 and 5, 100 maps each, dropout .5)
    """

    modalities = frozenset({"text"})
    pretrained_in_part = True

    def __init__(
        self,
        widths: Sequence[Count] = (3, 4, 5),
        maps: Count = 100,
        dropout: Probability = 0.5,
        pretrained: bool = True,
        weights: str | None = None,
        max_length: Count = 256,
        table: StoredTable | None = None,
    ) -> None:
        super().__init__()
        if not widths or len(set(widths)) != len(widths):
            raise UserError(f"backbone.widths must name different widths, got {list(widths)}.")
        for width in widths:
            check_count("backbone.widths", width)
        check_count("backbone.maps", maps)
        self.vectors, self.spec = word_table(pretrained, weights, max_length, table)
        self.widths = tuple(widths)
        self.filters = nn.ModuleList(nn.Conv1d(self.vectors.embedding_dim, maps, width) for width in widths)
        self.dropout = nn.Dropout(check_probability("backbone.dropout", dropout))
        self.num_features = maps * len(widths)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``ids`` and ``mask``, ``(B, L)``, to ``(B, num_features)``.

        A filter is applied at every position whose first word belongs to the text; zeros follow the last word.
        """
        vectors = (self.vectors(x["ids"]) * x["mask"].unsqueeze(2)).transpose(1, 2)  # (B, D, L)
        begun = x["mask"].bool()  # (B, L)
        begun = begun | ~begun.any(1, keepdim=True)
        answers = []
        for width, layer in zip(self.widths, self.filters, strict=True):
            filled = nn.functional.pad(vectors, (0, width - 1))
            answers.append(layer(filled).relu().masked_fill(~begun[:, None], 0).amax(2))
        return self.dropout(torch.cat(answers, 1))

    def layer_groups(self) -> list[LayerGroup]:
        """Return ``vectors`` and ``filters``."""
        return [("vectors", [self.vectors]), ("filters", [self.filters, self.dropout])]
