"""Text inputs: sequences of token ids, with a mask that excludes padding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.inputs.tokenisers import Encoded, Text, Tokeniser, tokeniser_from

__all__ = ["TokenSpec"]


@dataclass(frozen=True)
class TokenSpec(InputSpec):
    """Token sequences as ``{"ids": (N, L), "mask": (N, L)}``, both int64; the mask is 1 at tokens, 0 at padding.

    Pairs of texts also have ``types``: 0 at tokens of the first text, 1 at those of the second.

    Args:
        vocabulary: number of ids, including that of the padding.
        max_length: largest L; longer sequences are cut.
        padding_id: id of the padding.
        tokeniser: converts strings to ids; None if the data are ids already.
    """

    modality: ClassVar[str] = "text"

    vocabulary: int
    max_length: int
    padding_id: int = 0
    tokeniser: Tokeniser | None = None

    @property
    def padding(self) -> Mapping[str, float]:  # type: ignore[override]  # a constant elsewhere
        """Padding values: the padding's id for ids, 0 for the mask."""
        return {"ids": self.padding_id, "mask": 0}

    @property
    def shortens(self) -> bool:  # type: ignore[override]  # a constant elsewhere
        """Whether batches are shortened: true for texts, false for data that are ids already."""
        return self.tokeniser is not None

    def encode(self, texts: Sequence[Text]) -> Encoded:
        """Tokenise texts or pairs of texts."""
        assert self.tokeniser is not None
        return self.tokeniser.encode(texts, self.max_length)

    def fit(self, raw: Any) -> Inputs:
        """Cut sequences to ``max_length``, and pad them to the longest of the batch.

        Args:
            raw: texts or pairs of texts, if there is a tokeniser; or the ids of each sequence; or named tensors of
                ids, which are only cut.
        """
        if isinstance(raw, Mapping):
            return {name: tensor[..., : self.max_length] for name, tensor in raw.items()}
        if self.tokeniser is not None and _are_texts(raw):
            encoded = self.encode(raw)
            return self.padded(encoded.ids, encoded.types)
        return self.padded([list(row)[: self.max_length] for row in raw])

    def padded(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] = ()) -> dict[str, Tensor]:
        """Convert sequences to named tensors ``(N, L)``, padded to the longest.

        Args:
            rows: ids of each sequence.
            types: segment of each token (0 or 1), if the sequences are pairs.
        """
        longest = max(map(len, rows))
        filled = {"ids": (rows, self.padding_id), "mask": ([[1] * len(row) for row in rows], 0)}
        filled |= {"types": (types, 0)} if types else {}
        return {
            name: torch.tensor([[*row, *[value] * (longest - len(row))] for row in values], dtype=torch.int64)
            for name, (values, value) in filled.items()
        }

    def shorten(self, x: Inputs) -> Inputs:
        """Remove the padding that all sequences of a batch have in common.

        Args:
            x: named tensors, ``(..., L)``.
        """
        if not self.shortens or isinstance(x, Tensor):
            return x
        used = x["mask"].flatten(0, -2).any(0).nonzero()
        length = 1 + int(used[-1]) if len(used) else 1
        return {name: tensor[..., :length] for name, tensor in x.items()}

    def state(self) -> dict[str, Any]:
        """Return vocabulary size, length, padding and, if there is one, the tokeniser as plain values."""
        numbers = {"vocabulary": self.vocabulary, "max_length": self.max_length, "padding_id": self.padding_id}
        tokeniser = {} if self.tokeniser is None else {"tokeniser": self.tokeniser.state()}
        return {"modality": self.modality, **numbers, **tokeniser}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from the result of :meth:`state`."""
        numbers = {name: int(value) for name, value in state.items() if name not in ("modality", "tokeniser")}
        return cls(**numbers, tokeniser=tokeniser_from(state["tokeniser"]) if "tokeniser" in state else None)

    def __str__(self) -> str:
        return f"up to {self.max_length} tokens of {self.vocabulary}"


def _are_texts(raw: Sequence[Any]) -> bool:
    return bool(raw) and (isinstance(raw[0], str) or (isinstance(raw[0], tuple) and isinstance(raw[0][0], str)))
