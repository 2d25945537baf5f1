"""Texts larger than memory: strings and tokens in files of the cache, from which a batch reads only its own rows."""

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_folder
from tl_lab.data.inputs.operations import Inputs
from tl_lab.data.inputs.texts import Texts, check_tokeniser, digest_of, notes_of
from tl_lab.data.inputs.tokenisers import Text
from tl_lab.data.inputs.tokens import TokenSpec

__all__ = ["Rows", "RowsWriter", "StoredTexts", "TextStore", "TextsWriter"]

_AT_ONCE = 4096  # number of texts tokenised at a time
_DIGEST = 16  # bytes of a hash


class Rows:
    """Rows of different lengths, stored one after the other in a file.

    Rows are read by position and not mapped into memory, because the pages of a mapped file that a process has read
    count as memory of the process.

    Args:
        path: path of the file without its extension, as given to :class:`RowsWriter`.
        dtype: type of the values.
    """

    def __init__(self, path: Path, dtype: type | str) -> None:
        self.path, self.dtype = path, np.dtype(dtype)

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """A leading 0 followed by the end of each row, ``(N + 1,)`` int64, mapped into memory."""
        return np.load(self.path.with_suffix(".ends.npy"), mmap_mode="r")

    @functools.cached_property
    def _file(self) -> Any:
        return self.path.with_suffix(".bin").open("rb", buffering=0)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        start, end = int(self.ends[i]), int(self.ends[i + 1])
        size = self.dtype.itemsize
        # workers share the open file, so each read states its position
        return np.frombuffer(os.pread(self._file.fileno(), (end - start) * size, start * size), self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "dtype": self.dtype}  # another process opens the files itself


class RowsWriter:
    """Context manager that writes rows for :class:`Rows`.

    Args:
        path: path of the file without its extension.
        dtype: type of the values.
    """

    def __init__(self, path: Path, dtype: type | str) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self._file = path.with_suffix(".bin").open("wb")
        self._lengths = [np.zeros(1, np.int64)]

    def add(self, rows: Sequence[Sequence[int]] | Sequence[bytes]) -> None:
        """Append rows."""
        self._lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        self._file.write(
            b"".join(row if isinstance(row, bytes) else np.array(row, self.dtype).tobytes() for row in rows)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if kind is None:
            np.save(self.path.with_suffix(".ends.npy"), np.cumsum(np.concatenate(self._lengths)))


class TextsWriter:
    """Context manager that writes texts, or pairs of texts, for :class:`TextStore`.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._rows, self._digests = folder, RowsWriter(folder / "texts", np.uint8), list[bytes]()

    def add(self, texts: Sequence[Text]) -> None:
        """Append texts; all are strings, or all are pairs."""
        parts = [part for text in texts for part in ((text,) if isinstance(text, str) else text)]
        self._rows.add([part.encode("utf-8", "surrogatepass") for part in parts])
        self._digests.append(b"".join(map(digest_of, texts)))

    def __enter__(self) -> Self:
        self._rows.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._rows.__exit__(kind, error, trace)
        if kind is None:
            np.save(self.folder / "digests.npy", np.frombuffer(b"".join(self._digests), f"S{_DIGEST}"))


class TextStore:
    """All texts of a table, stored in files.

    Args:
        folder: folder of the files, written by :class:`TextsWriter`.
        parts: 1 for texts, 2 for pairs.
    """

    def __init__(self, folder: Path, parts: int) -> None:
        self.folder, self.parts, self._rows = folder, parts, Rows(folder / "texts", np.uint8)
        self._tokens: dict[str, _Tokens] = {}

    def __len__(self) -> int:
        return len(self._rows) // self.parts

    def __getitem__(self, i: int) -> Text:
        texts = [self._rows[self.parts * i + k].tobytes().decode("utf-8", "surrogatepass") for k in range(self.parts)]
        return texts[0] if self.parts == 1 else (texts[0], texts[1])

    def bytes_in(self, index: np.ndarray) -> np.ndarray:
        """Return the size of each text, or pair of texts, in bytes, ``(M,)``."""
        return self._rows.ends[self.parts * (index + 1)] - self._rows.ends[self.parts * index]

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """Hash of each text, 16 bytes, ``(N,)``, mapped into memory."""
        return np.load(self.folder / "digests.npy", mmap_mode="r")

    def tokens(self, spec: TokenSpec) -> "_Tokens":
        """Return the tokens of all texts, which are cached by tokeniser and length.

        Raises:
            UserError: the backbone has no tokeniser.
        """
        tokeniser = check_tokeniser(spec)
        key = {"tokeniser": tokeniser.digest, "length": spec.max_length, "texts": self.folder.name, "version": 1}
        if (name := repr(key)) not in self._tokens:
            self._tokens[name] = _Tokens(cached_folder("token-rows", key, lambda folder: self._tokenise(folder, spec)))
        return self._tokens[name]

    def _tokenise(self, folder: Path, spec: TokenSpec) -> None:
        shortened, unknown = list[np.ndarray](), list[np.ndarray]()
        with RowsWriter(folder / "ids", np.int32) as ids, RowsWriter(folder / "types", np.int8) as types:
            for start in range(0, len(self), _AT_ONCE):
                encoded = spec.encode([self[i] for i in range(start, min(start + _AT_ONCE, len(self)))])
                ids.add(encoded.ids)
                types.add(encoded.types)
                shortened.append(np.array(encoded.shortened))
                number = None if spec.tokeniser is None else spec.tokeniser.unknown_id
                unknown.append(np.array([row.count(number) for row in encoded.ids], np.int32))  # type: ignore[arg-type]
        np.save(folder / "shortened.npy", np.concatenate(shortened))
        np.save(folder / "unknown.npy", np.concatenate(unknown))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "digests"}


class _Tokens:
    """Tokens of all texts of a store.

    Args:
        folder: folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.ids, self._types = folder, Rows(folder / "ids", np.int32), Rows(folder / "types", np.int8)
        self.types = self._types if len(self._types) else None

    def lengths(self, index: np.ndarray) -> np.ndarray:
        """Return the number of tokens of each text, ``(M,)``."""
        return self.ids.ends[index + 1] - self.ids.ends[index]

    def counts(self, index: np.ndarray) -> tuple[int, int, int]:
        """Count the texts that were cut, unknown tokens, and all tokens."""
        shortened, unknown = (np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ("shortened", "unknown"))
        return int(shortened[index].sum()), int(unknown[index].sum()), int(self.lengths(index).sum())


class StoredTexts(Texts):
    """Texts of a store; they give the same samples and batches as a list of the same texts.

    Args:
        store: store of all texts of a table.
        index: positions of these texts in the store, ``(N,)`` int64; None for all.
    """

    def __init__(self, store: TextStore, index: np.ndarray | None = None) -> None:
        self.store, self.index = store, np.arange(len(store)) if index is None else index
        self.items: Sequence[Text] = _Items(self)
        self.notes: list[str] = []

    def bytes_for(self, spec: TokenSpec) -> int:
        """Return an upper bound of the bytes of ids and masks, padded to the longest text, at one byte per token."""
        longest = int(self.store.bytes_in(self.index).max(initial=0))
        return 16 * len(self) * min(spec.max_length, longest + 4)

    def prepare(self, spec: TokenSpec) -> None:
        """Tokenise the texts before workers read them."""
        cut, unknown, tokens = self.store.tokens(spec).counts(self.index)
        self.notes = notes_of(len(self), cut, unknown, tokens, spec)

    def lengths(self, spec: TokenSpec) -> Tensor:
        """Return the number of tokens of each text, ``(N,)``."""
        return torch.from_numpy(self.store.tokens(spec).lengths(self.index))

    def read(self, i: int, spec: TokenSpec) -> Inputs:
        """Return the tokens of one text as named tensors ``(L,)``."""
        return {name: tensor[0] for name, tensor in self.read_batch([i], spec).items()}

    def read_batch(self, places: Sequence[int], spec: TokenSpec) -> dict[str, Tensor]:
        """Return the tokens of several texts as named tensors ``(B, L)``, padded to the longest."""
        tokens, rows = self.store.tokens(spec), self.index[places].tolist()
        ids = [tokens.ids[row] for row in rows]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        inside = np.arange(lengths.max())[None] < lengths[:, None]  # (B, L)
        filled = {"ids": _filled(inside, ids, spec.padding_id), "mask": inside.astype(np.int64)}
        if tokens.types is not None:
            filled["types"] = _filled(inside, [tokens.types[row] for row in rows], 0)
        return {name: torch.from_numpy(values) for name, values in filled.items()}

    def load_all(self, spec: TokenSpec, workers: int = 0) -> dict[str, Tensor]:
        """Return the tokens of all texts as named tensors ``(N, L)``, padded to the longest of the set."""
        self.prepare(spec)
        return self.read_batch(range(len(self)), spec)

    def subset(self, index: Tensor) -> "StoredTexts":
        """Return the texts at ``index``, ``(M,)``, int64, or where a mask is true, in that order."""
        return StoredTexts(self.store, self.index[index.cpu().numpy()])

    def concatenate(self, parts: "Sequence[Texts]") -> Texts:
        """Concatenate texts; those of several stores are read into memory."""
        stored = [part for part in parts if isinstance(part, StoredTexts) and part.store is self.store]
        if len(stored) == len(parts):
            return StoredTexts(self.store, np.concatenate([part.index for part in stored]))
        return super().concatenate(parts)

    def keys(self) -> np.ndarray:
        """Return a hash of each text, 16 bytes, ``(N,)``; :meth:`digests` returns the same as hexadecimal digits."""
        return self.store.digests[self.index]

    def digests(self) -> list[str]:
        """Return a hash of each text; texts that differ only in white space have the same hash."""
        return [row.tobytes().hex() for row in self.keys().view(np.uint8).reshape(-1, _DIGEST)]

    def __repr__(self) -> str:
        return f"StoredTexts({len(self)})"


class _Items(Sequence[Text]):
    """The strings, each read on demand."""

    def __init__(self, texts: StoredTexts) -> None:
        self._store, self._index = texts.store, texts.index

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self._store[int(row)] for row in self._index[i]]
        return self._store[int(self._index[i])]

    def __iter__(self) -> Iterator[Text]:
        return (self._store[int(row)] for row in self._index)


def _filled(inside: np.ndarray, rows: Sequence[np.ndarray], padding: int) -> np.ndarray:
    values = np.full(inside.shape, padding, np.int64)
    values[inside] = np.concatenate(rows)
    return values
