"""Errors of the user, each described in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches

from tl_lab.texts import listed, printable

__all__ = ["MANY", "UserError", "nearest", "no_column", "root_cause"]

MANY = 20
"""Names, of choices or columns, that a message gives before it says how many more there are."""


class UserError(ValueError):
    """A mistake of the user: the message states in one sentence the mistake, its place and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


_SYNONYMS = {"cuda": "gpu", "nvidia": "gpu"}
"""Other words for a choice, which are spelt too differently for a comparison of letters."""


def nearest(name: str, valid: Iterable[str], limit: int = 3, in_order: bool = False) -> str:
    """Name the valid choices closest to a misspelt one, or all of them where none is close.

    Args:
        name: as given by the user.
        valid: what could have been written.
        limit: how many close names to give at most.
        in_order: whether all names are listed in the order of ``valid``, such as that of a file, instead of sorted.

    Returns:
        ``"did you mean 'a' or 'b'?"``, or ``"valid: a, b, c"``; of many names the first ones and a number.
    """
    names = list(dict.fromkeys(valid)) if in_order else sorted(set(valid))
    synonym = _SYNONYMS.get(name.lower())
    close = [synonym] if synonym in names else get_close_matches(name, names, n=limit, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return f"valid: {listed(names, MANY)}"


def no_column(place: object, name: str, columns: Iterable[object]) -> UserError:
    """Say that a table has no column of this name, which name is near, and which columns there are.

    Args:
        place: of the table.
        name: as given by the user.
        columns: of the table, in its order.

    Returns:
        The error, to be raised.
    """
    names = [str(column) for column in columns]
    advice = nearest(name, names, in_order=True)
    if not advice.startswith("valid"):
        advice += f" Its columns are {listed(names, MANY)}"
    return UserError(f"{place} has no column {name!r}; {advice}")


def root_cause(error: BaseException) -> BaseException:
    """Find the user's mistake that libraries have wrapped, or the first error of the chain."""
    seen = error
    while not isinstance(seen, UserError) and seen.__cause__ is not None:
        seen = seen.__cause__
    return seen
