"""Sequences of tokens: numbers of words or pieces of words, with a mask of those that are no padding."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.spec import InputSpec

__all__ = ["TokenSpec"]


@dataclass(frozen=True)
class TokenSpec(InputSpec):
    """Token sequences as ``{"ids": (N, L), "mask": (N, L)}``, both int64; the mask is 1 at tokens, 0 at padding.

    Args:
        vocabulary: number of different ids, the padding's among them.
        max_length: L at most; longer sequences lose their end.
        padding_id: fills up shorter sequences.
    """

    modality: ClassVar[str] = "text"

    vocabulary: int
    max_length: int
    padding_id: int = 0

    @property
    def padding(self) -> Mapping[str, float]:  # type: ignore[override]  # a constant elsewhere
        """Fill up ids with the padding's, the mask with 0."""
        return {"ids": self.padding_id, "mask": 0}

    def fit(self, raw: Sequence[Sequence[int]] | Mapping[str, Tensor]) -> Inputs:
        """Cut sequences to the length, and pad shorter ones to the longest of the batch.

        Args:
            raw: ids of each sequence, or ``ids`` and ``mask`` that were made of them.
        """
        if isinstance(raw, Mapping):
            return {name: tensor[:, : self.max_length] for name, tensor in raw.items()}
        rows = [list(row)[: self.max_length] for row in raw]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.padding_id] * (longest - len(row)) for row in rows], dtype=torch.int64)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], dtype=torch.int64)
        return {"ids": ids, "mask": mask}

    def state(self) -> dict[str, Any]:
        """Give vocabulary, length and padding."""
        return {"modality": self.modality, **asdict(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build it from vocabulary, length and padding."""
        return cls(**{name: int(value) for name, value in state.items() if name != "modality"})

    def __str__(self) -> str:
        return f"up to {self.max_length} tokens of {self.vocabulary}"
