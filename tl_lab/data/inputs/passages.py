"""Inputs for question answering: passages and questions, split into words."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.inputs.tokenisers import FastTokeniser, Tokeniser, tokeniser_from
from tl_lab.functional.answers import Passage, words_in

__all__ = ["PassageSpec", "Passages"]


@dataclass(frozen=True)
class PassageSpec(InputSpec):
    """Questions and passages as ``ids``, ``mask`` and ``types`` (N, T), ``first`` (N, W) and ``words`` (N,), all int64.

    ``first`` is the position of the first token of each of the passage's words; it is -1 for words that were cut off
    and for padding. ``words`` is the number of words.

    Args:
        vocabulary: number of ids, including that of the padding.
        max_length: largest T; longer passages are cut.
        padding_id: id of the padding.
        tokeniser: splits words into tokens.
    """

    modality: ClassVar[str] = "passage"
    shortens: ClassVar[bool] = True

    vocabulary: int
    max_length: int
    padding_id: int
    tokeniser: Tokeniser

    @property
    def padding(self) -> Mapping[str, float]:  # type: ignore[override]  # a constant elsewhere
        """Padding values: the padding's id for ids, -1 for positions of words, 0 for other tensors."""
        return {"ids": self.padding_id, "first": -1}

    def encode(self, passage: Passage) -> tuple[list[int], list[int], list[int]]:
        """Tokenise a question and its passage; return ids, types, and the position of each word's first token."""
        assert isinstance(self.tokeniser, FastTokeniser)
        words = [passage.context[a:b] for a, b in words_in(passage.context)]
        asked = [passage.question[a:b] for a, b in words_in(passage.question)]
        ids, types, owners = self.tokeniser.encode_passage(asked, words, self.max_length)
        places: dict[int, int] = {}
        for place, owner in enumerate(owners):
            if owner is not None:
                places.setdefault(owner, place)
        return ids, types, [places.get(word, -1) for word in range(len(words))]

    def fit(self, raw: Any) -> Inputs:
        """Tokenise passages; tensors are returned unchanged."""
        if isinstance(raw, Mapping):
            return raw
        rows = [self.encode(passage) for passage in raw]
        tokens, words = max(len(ids) for ids, _, _ in rows), max(len(first) for _, _, first in rows)
        return {
            "ids": torch.tensor([[*ids, *[self.padding_id] * (tokens - len(ids))] for ids, _, _ in rows]),
            "mask": torch.tensor([[1] * len(ids) + [0] * (tokens - len(ids)) for ids, _, _ in rows]),
            "types": torch.tensor([[*types, *[0] * (tokens - len(types))] for _, types, _ in rows]),
            "first": torch.tensor([[*first, *[-1] * (words - len(first))] for _, _, first in rows]),
            "words": torch.tensor([len(first) for _, _, first in rows]),
        }

    def shorten(self, x: Inputs) -> Inputs:
        """Remove the padding of tokens and of words that all passages of a batch have in common."""
        assert isinstance(x, Mapping)
        used = x["mask"].flatten(0, -2).any(0).nonzero()
        tokens, words = 1 + int(used[-1]) if len(used) else 1, max(1, int(x["words"].max()))
        shorter = {name: x[name][..., :tokens] for name in ("ids", "mask", "types")}
        return {**x, **shorter, "first": x["first"][..., :words]}

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Reject images and vectors."""
        return "" if not shape else "it takes passages with questions"

    def state(self) -> dict[str, Any]:
        """Return vocabulary size, length, padding and tokeniser as plain values."""
        numbers = {"vocabulary": self.vocabulary, "max_length": self.max_length, "padding_id": self.padding_id}
        return {"modality": self.modality, **numbers, "tokeniser": self.tokeniser.state()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Build the spec from the result of :meth:`state`."""
        numbers = {name: int(value) for name, value in state.items() if name not in ("modality", "tokeniser")}
        return cls(**numbers, tokeniser=tokeniser_from(state["tokeniser"]))

    def __str__(self) -> str:
        return f"up to {self.max_length} tokens of {self.vocabulary}"


class Passages:
    """A list of passages, with the interface of :class:`~tl_lab.data.samples.LazyInputs`.

    Args:
        items: the passages.
    """

    def __init__(self, items: Sequence[Passage]) -> None:
        self.items = list(items)
        self.notes: list[str] = []
        """Description of what was cut when the passages were tokenised."""

    def __len__(self) -> int:
        return len(self.items)

    def bytes_for(self, spec: PassageSpec) -> int:
        """Return 0, because the words are in memory already."""
        return 0

    def read(self, i: int, spec: PassageSpec) -> Inputs:
        """Tokenise one passage; return named tensors without the sample dimension."""
        x = spec.fit([self.items[i]])
        assert isinstance(x, Mapping)
        return {name: tensor[0] for name, tensor in x.items()}

    def load_all(self, spec: PassageSpec, workers: int = 0) -> Inputs:
        """Tokenise all passages; ``workers`` is ignored."""
        x = spec.fit(self.items)
        assert isinstance(x, Mapping)
        cut = int((x["first"].ge(0).sum(1) < x["words"]).sum())
        self.notes = [f"{cut:,} of {len(self):,} passages cut to {spec.max_length} tokens"] if cut else []
        return x

    def subset(self, index: Tensor) -> "Passages":
        """Return the passages at ``index``, ``(M,)``, int64, or where a mask is true, in that order."""
        return Passages([self.items[i] for i in torch.arange(len(self))[index.cpu()].tolist()])

    def concatenate(self, parts: "Sequence[Passages]") -> "Passages":
        """Concatenate lists of passages."""
        return Passages([item for part in parts for item in part.items])

    def digests(self) -> list[str]:
        """Return a hash of each passage with its question."""
        return [hashlib.blake2b(repr(item[:2]).encode(), digest_size=16).hexdigest() for item in self.items]

    def fingerprint(self) -> str:
        """Return a hash of all passages, in order: 64 hexadecimal digits."""
        return hashlib.sha256("\n".join(self.digests()).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Passages({len(self)})"
