"""Find samples that occur in more than one part of the data: identical ones or, on request, near-duplicates."""

import functools
import hashlib
import sys
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tl_lab.data.inputs.image import ImageSpec
from tl_lab.data.inputs.operations import Inputs, tensors
from tl_lab.data.names import SetName
from tl_lab.data.samples import LazyInputs, Samples, in_memory
from tl_lab.errors import UserError

__all__ = ["Shared", "keys_of", "near_images", "near_texts", "shared_samples"]

_SIDE = 16  # pixels of the small grey copies used to compare images
_FLAT = 1e-3  # standard deviation, in [0, 1], below which a copy counts as uniform
_WORDS = 3  # length of the word sequences used to compare texts
_ROWS = 1024  # number of samples compared with all others at a time
_PARTS = ("train", "val", "test")


class Shared(NamedTuple):
    """Samples of a set that also occur in another set.

    Attributes:
        name: name of the set.
        other: name of a set used earlier, for training or selection.
        found: number of samples of ``name`` that occur in ``other``.
        of: number of samples of ``name``.
        differing: number of these samples that have another label in ``other``; 0 if labels are unknown.
    """

    name: str
    other: str
    found: int
    of: int
    differing: int

    def __str__(self) -> str:
        labels = f", {self.differing:,} of them with another label" if self.differing else ""
        return f"{self.found:,} of {self.of:,} samples of {self.name} are also in {self.other}{labels}"


def keys_of(x: Inputs | LazyInputs) -> list[bytes] | list[str] | np.ndarray:
    """Return a key for each sample such that equal samples have equal keys; for files, the hash of the content.

    Inputs with too many samples for a list return an array of bytes, whose hexadecimal digits are the keys.
    """
    if not in_memory(x):
        if hasattr(x, "keys"):
            return cast(np.ndarray, x.keys())
        digests: Callable[[], list[str]] | None = getattr(x, "digests", None)
        return [f"{id(x)} {i}" for i in range(len(x))] if digests is None else digests()
    parts = [tensor.detach().cpu().contiguous() for tensor in tensors(x)]
    kinds = "".join(f"{part.dtype}{tuple(part.shape[1:])}" for part in parts).encode()
    rows = [part.view(len(part), -1).view(torch.uint8).numpy() if part.numel() else None for part in parts]
    return [
        hashlib.blake2b(
            b"".join(row[i].data for row in rows if row is not None), digest_size=16, key=kinds[:64]
        ).digest()
        for i in range(len(parts[0]))
    ]


def shared_samples(
    sets: Mapping[str, Samples],
    similarity: float | None = None,
    meant: Callable[[str, str], bool] = lambda name, other: False,
) -> list[Shared]:
    """Find samples of validation and test sets that also occur in a set used earlier.

    Args:
        sets: sets by name; the last part of a name is ``train``, ``val`` or ``test``.
        similarity: threshold for near-duplicates, in (0, 1]: for images the correlation of small
            grey copies, for texts the share of common three-word sequences; None for equal samples only.
        meant: tells whether two sets, given by name, share samples on purpose.

    Returns:
        The findings, in descending order of the share of the set.

    Raises:
        UserError: near-duplicates are requested for inputs that are neither images nor texts.
    """
    seen: dict[Hashable, Any] = {}  # pairs of inputs already compared, and the keys of each set's inputs
    found = []
    for name, other in _pairs(sets):
        held_out, before = sets[name], sets[other]
        both = id(held_out.x), id(before.x)  # tasks may share their inputs
        if held_out.x is before.x or both in seen or meant(name, other):
            continue
        seen[both] = None
        for one in (held_out, before):
            if (x := id(one.x)) not in seen:
                seen[x] = _Keys(keys_of(one.x)) if similarity is None else _compared_by(one.x)
        match = _equal if similarity is None else _near(similarity)
        places = match(seen[id(held_out.x)], seen[id(before.x)])
        if (hit := places >= 0).any():
            found.append(Shared(name, other, int(hit.sum()), len(held_out), _differing(held_out.y, before.y, places)))
    return sorted(found, key=lambda one: -one.found / one.of)


def _pairs(sets: Mapping[str, Samples]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a held-out set and a set used earlier; training precedes validation, and validation test."""
    rank = {name: _PARTS.index(part) for name in sets if (part := SetName.parse(name).part) in _PARTS}
    for name in rank:
        yield from ((name, other) for other in rank if rank[other] < rank[name])


def _differing(y: Tensor | None, other: Tensor | None, places: np.ndarray) -> int:
    if y is None or other is None or y.shape[1:] != other.shape[1:]:
        return 0
    here = np.flatnonzero(places >= 0)
    one, another = y.cpu()[here], other.cpu()[places[here]]
    differ = (one != another) & (one == one) & (another == another)  # a missing label (NaN) equals any label
    return int(differ.reshape(len(here), -1).any(1).sum())


class _Keys:
    """Keys of a set's samples, in order and as a set."""

    def __init__(self, keys: Sequence[Hashable] | np.ndarray) -> None:
        self.array = keys if isinstance(keys, np.ndarray) else None
        self._keys = keys

    @functools.cached_property
    def keys(self) -> Sequence[Hashable]:
        if self.array is None:
            return cast(Sequence[Hashable], self._keys)
        return [row.tobytes().hex() for row in self.array.view(np.uint8).reshape(len(self.array), -1)]

    @functools.cached_property
    def every(self) -> frozenset[Hashable]:
        return frozenset(self.keys)


def _equal(one: _Keys, other: _Keys) -> np.ndarray:
    """Return the position of each key among the other keys, ``(N,)``; -1 if absent."""
    if one.array is not None and other.array is not None:
        order = other.array.argsort(kind="stable")  # stable, so that the first of several equal keys is found
        nearest = order[other.array[order].searchsorted(one.array).clip(max=len(order) - 1)]
        return np.where(other.array[nearest] == one.array, nearest, -1)
    if one.every.isdisjoint(other.every):
        return np.full(len(one.keys), -1, dtype=np.int64)
    places = {key: i for i, key in reversed(list(enumerate(other.keys)))}
    return np.array([places.get(key, -1) for key in one.keys], dtype=np.int64)


# ---------------------------------------------------------------------- near-duplicates


def _compared_by(x: Inputs | LazyInputs) -> Tensor | list[list[Hashable]]:
    """Return what is compared: small grey images, or sequences of lower-case words without punctuation and symbols."""
    if not in_memory(x):
        texts: Callable[[], list[str]] | None = getattr(x, "texts", None)
        if texts is not None:
            return [list(text.lower().translate(_marks()).split() or text.split()) for text in texts()]
        small = x.load_all(ImageSpec((_SIDE, _SIDE), 1), 0)
        assert isinstance(small, Tensor)
        return small.float() / 255
    if isinstance(x, Mapping) and "input_ids" in x:
        mask = x.get("attention_mask", torch.ones_like(x["input_ids"])).bool()
        return [row[kept].tolist() for row, kept in zip(x["input_ids"], mask, strict=True)]
    if isinstance(x, Tensor) and x.dim() == 4:
        return ImageSpec((_SIDE, _SIDE), 1).fit(x if x.shape[1] in (1, 3) else x[:, :1])
    raise UserError("data.near_duplicates supports images and texts only: leave it out")


@functools.cache
def _marks() -> dict[int, str]:
    """Map characters that never belong to a word to spaces; the vowel signs of many scripts belong to words."""
    every = map(chr, range(sys.maxunicode + 1))
    return {ord(c): " " for c in every if not (c.isalnum() or c == "_" or unicodedata.category(c)[0] == "M")}


def _near(similarity: float) -> Callable[[Any, Any], np.ndarray]:
    def match(one: Any, other: Any) -> np.ndarray:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return near_images(one, other, similarity)
        return near_texts(one, other, similarity)

    return match


def near_images(x: Tensor, others: Tensor, similarity: float) -> np.ndarray:
    """Find the most similar one among other images, for each image.

    Images are compared by the correlation of their pixels, which is invariant to brightness and contrast; two uniform
    images are compared by their brightness.

    Args:
        x: small grey images, ``(N, 1, H, W)``, in [0, 1].
        others: small grey images, ``(M, 1, H, W)``, in [0, 1].
        similarity: smallest correlation that counts, in (0, 1].

    Returns:
        Position of the most similar image for each image, ``(N,)``; -1 if none is similar enough.
    """
    kinds = [_patterns(images) for images in (x, others)]
    places = np.full(len(x), -1, dtype=np.int64)
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        alike = kinds[0][0][part] @ kinds[1][0].T
        flat = kinds[0][1][part, None] & kinds[1][1][None]
        brightness = 1 - (x[part].mean((1, 2, 3))[:, None] - others.mean((1, 2, 3))[None]).abs()
        best, where = torch.where(flat, brightness, alike).max(1)
        places[part] = torch.where(best >= similarity - 1e-6, where, -1).numpy()
    return places


def _patterns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Centre each image and scale it to length 1, ``(N, H*W)``; return which are uniform, ``(N,)``, and thus 0."""
    rows = x.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    flat = rows.std(1, correction=0) < _FLAT
    return F.normalize(rows, dim=1) * ~flat[:, None], flat


def near_texts(
    texts: Sequence[Sequence[Hashable]], others: Sequence[Sequence[Hashable]], similarity: float
) -> np.ndarray:
    """Find the most similar one among other texts, for each text, by the Jaccard index of their three-word sequences.

    Args:
        texts: N sequences of words, or of token ids.
        others: M sequences of the same kind.
        similarity: smallest index that counts, in (0, 1].

    Returns:
        Position of the most similar text for each text, ``(N,)``; -1 if none is similar enough.

    References:
        A. Z. Broder: On the Resemblance and Containment of Documents. Compression and Complexity of Sequences, 1997.
    """
    from scipy import sparse

    numbers: dict[Hashable, int] = {}

    def matrix(every: Sequence[Sequence[Hashable]]) -> sparse.csr_matrix:
        runs = [{numbers.setdefault(run, len(numbers)) for run in _runs(words)} for words in every]
        ends = np.cumsum([0, *map(len, runs)])
        places = np.array([place for of_text in runs for place in sorted(of_text)], dtype=np.int64)
        return sparse.csr_matrix((np.ones(len(places)), places, ends), shape=(len(every), 1 + max(places, default=0)))

    first, second = matrix(texts), matrix(others)
    width = max(first.shape[1], second.shape[1])
    first.resize((first.shape[0], width))
    second.resize((second.shape[0], width))
    sizes = np.asarray(second.sum(1)).ravel()
    found = np.full(len(texts), -1, dtype=np.int64)
    for start in range(0, len(texts), _ROWS):
        part = first[start : start + _ROWS]
        common = (part @ second.T).tocsr()
        own = np.asarray(part.sum(1)).ravel()
        for i in range(common.shape[0]):
            here = common.indices[common.indptr[i] : common.indptr[i + 1]]
            counts = common.data[common.indptr[i] : common.indptr[i + 1]]
            index = counts / (own[i] + sizes[here] - counts)
            if len(index) and index.max() >= similarity - 1e-9:
                found[start + i] = here[index.argmax()]
    return found


def _runs(words: Sequence[Hashable]) -> list[tuple[Hashable, ...]]:
    """List the three-word sequences of a text; a text of fewer words is one sequence."""
    if len(words) < _WORDS:
        return [tuple(words)]
    return [tuple(words[i : i + _WORDS]) for i in range(len(words) - _WORDS + 1)]
