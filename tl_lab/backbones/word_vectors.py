"""Word vectors, averaged over a text."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tl_lab.backbones.base import Backbone, LayerGroup, check_count
from tl_lab.backbones.packaged import packaged
from tl_lab.backbones.weights import find_weights
from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.tokenisers import Words
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.errors import UserError
from tl_lab.functional.pooling import pooled
from tl_lab.options import Count
from tl_lab.texts import counted

__all__ = ["StoredTable", "WordVectors", "read_vectors", "word_table"]


class StoredTable(NamedTuple):
    """The properties of word vectors in a checkpoint, whose original file may no longer exist.

    Attributes:
        spec: form of the input, with the words.
        width: length of the vectors.
    """

    spec: TokenSpec
    width: int


class WordVectors(Backbone):
    """The mean of the vectors of a text's words; words without a vector are ignored.

    Args:
        pretrained: start from GloVe 6B 50d (see ``python -m tl_lab weights``); False for random vectors of its words.
        weights: a text file of GloVe, word2vec or fastText (one word and its numbers per line), in place of GloVe's; or
            ``<name>.npy`` with the words in ``<name>.txt``, one per line.
        max_length: largest number of words of a text.
        table: table of a loaded checkpoint, which replaces any file; filled in by the run.

    Raises:
        UserError: the vectors are not available, or the file does not contain vectors.

    References:
        J. Pennington, R. Socher, C. D. Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014.
        https://aclanthology.org/D14-1162
    """

    modalities = frozenset({"text"})
    has_layers = False

    def __init__(
        self,
        pretrained: bool = True,
        weights: str | None = None,
        max_length: Count = 256,
        table: StoredTable | None = None,
    ) -> None:
        super().__init__()
        self.vectors, self.spec = word_table(pretrained, weights, max_length, table)
        self.num_features = self.vectors.embedding_dim

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Map ``ids`` and ``mask``, ``(B, L)``, to ``(B, num_features)``; 0 for a text without a known word."""
        known = x["mask"] * (x["ids"] >= Words.RESERVED)
        return pooled(self.vectors(x["ids"]), known)

    def layer_groups(self) -> list[LayerGroup]:
        """Return one group, ``vectors``."""
        return [("vectors", [self.vectors])]


def word_table(
    pretrained: bool, weights: str | None, max_length: int, stored: StoredTable | None = None
) -> tuple[nn.Embedding, TokenSpec]:
    """Build a table of word vectors and the form of its input, from the arguments of :class:`WordVectors`.

    Returns:
        Trainable vectors, with zeros for padding and unknown words; and the form of their input.
    """
    check_count("backbone.max_length", max_length)
    if stored is not None:
        return nn.Embedding(stored.spec.vocabulary, stored.width, padding_idx=0), stored.spec
    words, vectors = _glove() if weights is None else read_vectors(find_weights(weights))
    table = torch.from_numpy(vectors).float()
    if not pretrained and weights is None:
        table = torch.randn(table.shape) * table.std()
    reserved = torch.zeros(Words.RESERVED, table.shape[1])
    tokeniser = Words(words)
    layer = nn.Embedding.from_pretrained(torch.cat([reserved, table]), freeze=False, padding_idx=0)
    return layer, TokenSpec(tokeniser.size, max_length, 0, tokeniser)


def _glove() -> tuple[list[str], np.ndarray]:
    files = packaged("glove").locate()
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            "the words of GloVe are in a parquet file, which needs pyarrow: install tl_lab[text]"
        ) from error
    words = pyarrow.parquet.read_table(files["data/glove_6B_index.parquet"], columns=["index"])["index"].to_pylist()
    return words, np.load(files["data/glove_6B_50d_emb.npy"], allow_pickle=False)


def read_vectors(path: Path) -> tuple[list[str], np.ndarray]:
    """Read words and their vectors.

    Args:
        path: see ``weights`` of :class:`WordVectors`.

    Returns:
        N words, and the vectors, float32 ``(N, D)``.

    Raises:
        UserError: the file does not contain vectors; the message names the first wrong line.
    """
    if path.suffix == ".npy":
        return _read_array(path)
    words: list[str] = []
    rows: list[np.ndarray] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            parts = line.rstrip().split(" ")
            if number == 1 and len(parts) == 2:
                continue  # files of word2vec and fastText begin with the numbers of words and dimensions
            width = len(rows[0]) if rows else len(parts) - 1
            if len(parts) <= width or width < 1:
                raise UserError(
                    f"backbone.weights: line {number} of {path} has {counted(len(parts) - 1, 'number')}, not {width}"
                )
            try:
                rows.append(np.array(parts[-width:], dtype=np.float32))
            except ValueError as error:
                raise UserError(f"backbone.weights: line {number} of {path} is not a word with its numbers") from error
            words.append(" ".join(parts[:-width]))
    if not rows:
        raise UserError(f"backbone.weights: {path} contains no vectors")
    return words, np.stack(rows)


def _read_array(path: Path) -> tuple[list[str], np.ndarray]:
    listing = path.with_suffix(".txt")
    if not listing.is_file():
        raise UserError(f"backbone.weights: {path} needs its words in {listing}, one per line")
    words, vectors = read_text(listing).splitlines(), np.load(path, allow_pickle=False)
    if vectors.ndim != 2 or len(words) != len(vectors):
        raise UserError(
            f"backbone.weights: {path} has the shape {vectors.shape}, but {listing} has {len(words):,} words"
        )
    return words, vectors.astype(np.float32)
