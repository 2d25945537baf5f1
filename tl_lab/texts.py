"""Conversion of external texts, such as names of files, for display."""

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["counted", "listed", "no_formula", "one_line", "printable", "same_name"]

_CONTROLS = frozenset({"Cc", "Zl", "Zp"})
_FORMULA = re.compile(r"[=@\t\r]|[+-](?!(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$|inf$|nan$)")
_FEW = 5  # names given in a message before it says how many more there are


def printable(text: str) -> str:
    r"""Write bytes of a file's name that are not UTF-8 as ``\xe9``: Python's stand-ins for them can be written nowhere.

    Args:
        text: any.

    Returns:
        The text; equal to the given one if that can be encoded.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "surrogateescape") if _escaped(text) else text.encode("utf-8", "backslashreplace")
        return data.decode("utf-8", "backslashreplace")
    return text


def _escaped(text: str) -> bool:
    """Whether every lone surrogate stands for a byte."""
    return all(0xDC80 <= ord(letter) <= 0xDCFF for letter in text if 0xD800 <= ord(letter) <= 0xDFFF)


def one_line(text: str) -> str:
    r"""Write line breaks and other control characters of a name as ``\n`` and ``\x07``, so that it stays in its line.

    Args:
        text: any.

    Returns:
        The text, printable (see :func:`printable`).
    """
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) in _CONTROLS else sign for sign in printable(text))


def same_name(text: str) -> str:
    """Return a form that is equal for both spellings of a name: ``é`` as one character, or as ``e`` and an accent."""
    return unicodedata.normalize("NFC", text)


def listed(names: Iterable[str], limit: int = _FEW) -> str:
    """Join names by commas; after the first few, say how many more there are."""
    every = list(names)
    more = len(every) - limit
    return ", ".join(every[:limit]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, thing: str, plural: str | None = None) -> str:
    """Write a number and what it counts: ``1 query``, ``1,200 queries``.

    Args:
        number: at least 0.
        thing: the noun in the singular.
        plural: of the noun; None if it only adds an s.
    """
    return f"{number:,} {thing if number == 1 else plural or f'{thing}s'}"


def no_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula; numbers stay as they are."""
    return f"'{text}" if _FORMULA.match(text) else text
