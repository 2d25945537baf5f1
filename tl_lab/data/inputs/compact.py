"""Long lists of strings, stored in one block of memory."""

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

__all__ = ["Strings"]


class Strings(Sequence[str]):
    """A list of strings that forked processes share without copying it.

    Accessing a Python object changes its reference count, so that a forked process copies the memory page around it: a
    worker that reads a list of strings ends up with a copy of the list. Here the strings are stored in one array.

    Args:
        items: the strings.
    """

    def __init__(self, items: Iterable[str]) -> None:
        encoded = [item.encode("utf-8", "surrogateescape") for item in items]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> "list[str]": ...
    def __getitem__(self, i: int | slice) -> "str | list[str]":
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"{i} of {len(self)} strings")
        i %= len(self)
        return self._text[self._ends[i] : self._ends[i + 1]].tobytes().decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as for a list

    def __repr__(self) -> str:
        return f"Strings({len(self)})"
