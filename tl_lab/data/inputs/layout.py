"""Page inputs: words with their bounding boxes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays
from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.inputs.tokenisers import FastTokeniser, Tokeniser, tokeniser_from
from tl_lab.errors import UserError
from tl_lab.texts import counted

__all__ = ["EXTENT", "LayoutSpec", "Page", "Pages", "page_of"]

EXTENT = 1000
"""Width and height of every page, in the units of boxes."""


class Page(NamedTuple):
    """A page.

    Attributes:
        words: the words in reading order.
        boxes: box of each word: left, top, right and bottom, integers in 0..1000.
    """

    words: tuple[str, ...]
    boxes: tuple[tuple[int, int, int, int], ...]


def page_of(
    words: Sequence[str], boxes: Sequence[Sequence[float]], size: tuple[float, float] | None, where: str
) -> Page:
    """Build a page, with boxes scaled to 0..1000.

    Args:
        words: the words in reading order.
        boxes: left, top, right and bottom of each word.
        size: width and height of the page; None for the extent of its boxes.
        where: origin of the page, for messages.

    Raises:
        UserError: there are no words, or a box is outside of the page or has negative width or height.
    """
    if not words:
        raise UserError(f"{where} contains no words")
    width, height = size or (max(box[2] for box in boxes) or 1, max(box[3] for box in boxes) or 1)
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        if not (0 <= left <= right <= width and 0 <= top <= bottom <= height):
            raise UserError(
                f"{where}: the box of word {number} ({words[number - 1]!r}), {left:g} {top:g} {right:g} {bottom:g}, "
                f"is outside of its page of {width:g} x {height:g}, or has a negative width or height"
            )
    scale = EXTENT / width, EXTENT / height, EXTENT / width, EXTENT / height
    return Page(
        tuple(words),
        tuple(tuple(round(value * by) for value, by in zip(box, scale, strict=True)) for box in boxes),  # type: ignore[misc]
    )


@dataclass(frozen=True)
class LayoutSpec(InputSpec):
    """Pages as ``ids`` and ``mask`` (N, T), ``boxes`` (N, T, 4), ``first`` (N, W) and ``words`` (N,), all int64.

    ``first`` is the position of each word's first token; it is -1 for words that were cut off and for padding.
    ``words`` is the number of words.

    Args:
        vocabulary: number of ids, including that of the padding.
        max_length: largest T; longer pages are cut.
        padding_id: id of the padding.
        tokeniser: splits words into tokens.
    """

    modality: ClassVar[str] = "tokens_with_boxes"
    shortens: ClassVar[bool] = True

    vocabulary: int
    max_length: int
    padding_id: int
    tokeniser: Tokeniser

    @property
    def padding(self) -> Mapping[str, float]:  # type: ignore[override]  # a constant elsewhere
        """Padding values: the padding's id for ids, -1 for positions of words, 0 for other tensors."""
        return {"ids": self.padding_id, "first": -1}

    def encode(self, page: Page) -> tuple[list[int], list[list[int]], list[int]]:
        """Tokenise a page; return ids, boxes of the tokens, and the position of each word's first token."""
        assert isinstance(self.tokeniser, FastTokeniser)
        ids, owners = self.tokeniser.encode_words(page.words, self.max_length)
        edges = {None: [0, 0, 0, 0]}
        boxes = [edges[None] if owner is None else list(page.boxes[owner]) for owner in owners]
        if owners and owners[-1] is None:
            boxes[-1] = [EXTENT] * 4  # marks the end, as in LayoutLM
        places: dict[int, int] = {}
        for place, owner in enumerate(owners):
            if owner is not None:
                places.setdefault(owner, place)
        return ids, boxes, [places.get(word, -1) for word in range(len(page.words))]

    def fit(self, raw: Any) -> Inputs:
        """Tokenise pages; tensors are returned unchanged."""
        if isinstance(raw, Mapping):
            return raw
        return self.joined([self.encode(page) for page in raw])

    def joined(self, rows: Sequence[tuple[list[int], list[list[int]], list[int]]]) -> dict[str, Tensor]:
        """Combine encoded pages into named tensors, padded to the longest."""
        tokens, words = max(len(ids) for ids, _, _ in rows), max(len(first) for _, _, first in rows)
        return {
            "ids": torch.tensor([[*ids, *[self.padding_id] * (tokens - len(ids))] for ids, _, _ in rows]),
            "mask": torch.tensor([[1] * len(ids) + [0] * (tokens - len(ids)) for ids, _, _ in rows]),
            "boxes": torch.tensor([[*boxes, *[[0] * 4] * (tokens - len(boxes))] for _, boxes, _ in rows]),
            "first": torch.tensor([[*first, *[-1] * (words - len(first))] for _, _, first in rows]),
            "words": torch.tensor([len(first) for _, _, first in rows]),
        }

    def shorten(self, x: Inputs) -> Inputs:
        """Remove the padding of tokens and of words that all pages of a batch have in common."""
        assert isinstance(x, Mapping)
        used = x["mask"].flatten(0, -2).any(0).nonzero()
        tokens, words = 1 + int(used[-1]) if len(used) else 1, max(1, int(x["words"].max()))
        shorter = {name: x[name][..., :tokens] for name in ("ids", "mask")}
        return {**x, **shorter, "boxes": x["boxes"][..., :tokens, :], "first": x["first"][..., :words]}

    def mismatch(self, shape: tuple[int, ...]) -> str:
        """Reject images and vectors."""
        return "" if not shape else "it takes pages of words with boxes"

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
        return f"up to {self.max_length} tokens of {self.vocabulary}, with boxes"


class Pages:
    """A list of pages, with the interface of :class:`~tl_lab.data.samples.LazyInputs`.

    Args:
        items: the pages.
    """

    def __init__(self, items: Sequence[Page]) -> None:
        self.items = list(items)
        self.notes: list[str] = []
        """Description of what was cut when the pages were tokenised."""

    def __len__(self) -> int:
        return len(self.items)

    def bytes_for(self, spec: LayoutSpec) -> int:
        """Return 0, because the words are in memory already."""
        return 0

    def read(self, i: int, spec: LayoutSpec) -> Inputs:
        """Tokenise one page; return named tensors without the sample dimension."""
        return {name: tensor[0] for name, tensor in spec.joined([spec.encode(self.items[i])]).items()}

    def load_all(self, spec: LayoutSpec, workers: int = 0) -> dict[str, Tensor]:
        """Tokenise all pages; the result is cached by tokeniser, length and pages.

        Args:
            spec: provides tokeniser and length.
            workers: ignored; the tokeniser has its own threads.
        """
        key = {"tokeniser": spec.tokeniser.digest, "length": spec.max_length, "pages": self.fingerprint(), "version": 1}
        found = cached_arrays("pages", key, lambda: self._encoded(spec))
        cuts, ends = found["tokens"][:-1], found["words"][:-1]
        rows = zip(
            np.split(found["ids"], cuts), np.split(found["boxes"], cuts), np.split(found["first"], ends), strict=True
        )
        lost = int((found["first"] < 0).sum())
        self.notes = [f"{counted(lost, 'word')} beyond the limit of {spec.max_length} tokens"] if lost else []
        return spec.joined([tuple(part.tolist() for part in row) for row in rows])

    def _encoded(self, spec: LayoutSpec) -> dict[str, np.ndarray]:
        rows = [spec.encode(page) for page in self.items]
        return {
            "ids": np.array([number for ids, _, _ in rows for number in ids], dtype=np.int64),
            "boxes": np.array([box for _, boxes, _ in rows for box in boxes], dtype=np.int64),
            "first": np.array([place for _, _, first in rows for place in first], dtype=np.int64),
            "tokens": np.cumsum([len(ids) for ids, _, _ in rows]),
            "words": np.cumsum([len(first) for _, _, first in rows]),
        }

    def subset(self, index: Tensor) -> "Pages":
        """Return the pages at ``index``, ``(M,)``, int64, or where a mask is true, in that order."""
        return Pages([self.items[i] for i in torch.arange(len(self))[index.cpu()].tolist()])

    def concatenate(self, parts: "Sequence[Pages]") -> "Pages":
        """Concatenate lists of pages."""
        return Pages([item for part in parts for item in part.items])

    def texts(self) -> list[str]:
        """Return each page as one string, for finding near-duplicates."""
        return [" ".join(page.words) for page in self.items]

    def digests(self) -> list[str]:
        """Return a hash of each page."""
        return [hashlib.blake2b(repr(page).encode(), digest_size=16).hexdigest() for page in self.items]

    def fingerprint(self) -> str:
        """Return a hash of all pages, in order: 64 hexadecimal digits."""
        return hashlib.sha256("\n".join(self.digests()).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Pages({len(self)})"
