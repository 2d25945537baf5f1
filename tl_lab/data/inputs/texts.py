"""Texts, stored as strings until a backbone's tokeniser is known."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays
from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.tokenisers import Text, Tokeniser
from tl_lab.data.inputs.tokens import TokenSpec
from tl_lab.errors import UserError

__all__ = ["Texts", "check_tokeniser", "digest_of", "notes_of"]


TEXT_TYPES = frozenset({".txt"})
"""File name extensions of files with one text each."""


class Texts:
    """A list of texts, or of pairs of texts, with the interface of :class:`~tl_lab.data.samples.LazyInputs`.

    Args:
        items: the texts; all are strings, or all are pairs of strings.
    """

    def __init__(self, items: Sequence[Text]) -> None:
        self.items: Sequence[Text] = list(items)
        self.notes: list[str] = []
        """Description of what was lost when the texts were tokenised."""

    def __len__(self) -> int:
        return len(self.items)

    def bytes_for(self, spec: TokenSpec) -> int:
        """Return an upper bound of the bytes of ids and masks, padded to the longest text, at one letter per token."""
        longest = max((len(item) if isinstance(item, str) else sum(map(len, item)) for item in self.items), default=0)
        return 16 * len(self) * min(spec.max_length, longest + 4)

    def read(self, i: int, spec: TokenSpec) -> Inputs:
        """Tokenise one text; return named tensors ``(L,)``."""
        encoded = spec.encode([self.items[i]])
        return {name: tensor[0] for name, tensor in spec.padded(encoded.ids, encoded.types).items()}

    def load_all(self, spec: TokenSpec, workers: int = 0) -> dict[str, Tensor]:
        """Tokenise all texts; the result is cached by tokeniser, length and texts.

        Args:
            spec: provides tokeniser and length.
            workers: ignored; the tokeniser has its own threads.

        Returns:
            Named tensors ``(N, L)``, padded to the longest of the set.

        Raises:
            UserError: the backbone has no tokeniser.
        """
        key = {
            "tokeniser": check_tokeniser(spec).digest,
            "length": spec.max_length,
            "texts": self.fingerprint(),
            "version": 1,
        }
        found = cached_arrays("tokens", key, lambda: self._encoded(spec))
        ids, ends, types = found["ids"], found["ends"], found["types"]
        rows = [part.tolist() for part in np.split(ids, ends[:-1])]
        kinds = [part.tolist() for part in np.split(types, ends[:-1])] if len(types) else []
        cut, unknown, tokens = found["counts"].tolist()
        self.notes = notes_of(len(self), cut, unknown, tokens, spec)
        return spec.padded(rows, kinds)

    def _encoded(self, spec: TokenSpec) -> dict[str, np.ndarray]:
        encoded = spec.encode(self.items)
        return {
            "ids": np.array([token for row in encoded.ids for token in row], dtype=np.int32),
            "ends": np.cumsum([len(row) for row in encoded.ids]),
            "types": np.array([kind for row in encoded.types for kind in row], dtype=np.int8),
            "counts": np.array([encoded.cut, encoded.unknown, encoded.tokens]),
        }

    def subset(self, index: Tensor) -> "Texts":
        """Return the texts at ``index``, ``(M,)``, int64, or where a mask is true, in that order."""
        places = torch.arange(len(self))[index.cpu()].tolist()
        return Texts([self.items[i] for i in places])

    def concatenate(self, parts: "Sequence[Texts]") -> "Texts":
        """Concatenate lists of texts."""
        return Texts([item for part in parts for item in part.items])

    def texts(self) -> list[str]:
        """Return each text as one string, for finding near-duplicates."""
        return [item if isinstance(item, str) else " ".join(item) for item in self.items]

    def digests(self) -> list[str]:
        """Return a hash of each text; texts that differ only in white space have the same hash."""
        return [digest_of(item).hex() for item in self.items]

    def fingerprint(self) -> str:
        """Return a hash of all texts, in order: 64 hexadecimal digits."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(repr(item).encode() + b"\n")
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Texts({len(self)})"


def check_tokeniser(spec: TokenSpec) -> Tokeniser:
    """Return the tokeniser of a backbone's input specification.

    Raises:
        UserError: it has none.
    """
    if spec.tokeniser is None:
        raise UserError("these data are texts, but the backbone has no tokeniser")
    return spec.tokeniser


def digest_of(item: Text) -> bytes:
    """Hash a text or a pair to 16 bytes; texts that differ only in white space have the same hash."""
    return hashlib.blake2b(repr(_stripped(item)).encode(), digest_size=16).digest()


def notes_of(count: int, cut: int, unknown: int, tokens: int, spec: TokenSpec) -> list[str]:
    """Describe what was lost when texts were tokenised.

    Args:
        count: number of texts.
        cut: number of texts that were cut.
        unknown: number of tokens outside the vocabulary.
        tokens: total number of tokens.
        spec: input specification with the largest length.
    """
    notes = [f"{cut:,} of {count:,} texts cut to {spec.max_length} tokens"] if cut else []
    return notes + ([f"{unknown / tokens:.1%} of tokens unknown"] if unknown else [])


def _stripped(item: Text) -> Text:
    """Remove white space, because copies of a text differ in spaces that tokenisers have inserted."""
    return "".join(item.split()) if isinstance(item, str) else ("".join(item[0].split()), "".join(item[1].split()))
