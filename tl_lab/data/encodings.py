"""Files of text in another encoding than expected: one sentence with the file, the place and the remedy."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tl_lab.errors import UserError

__all__ = ["decoded", "read_text"]

_MARKS = {  # UTF-32 first, whose mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_START, _PART = 4096, 2**20  # bytes that are examined for NUL, and that are decoded at a time


@contextmanager
def decoded(path: Path, encoding: str, option: str | None = None) -> Iterator[None]:
    """Raise errors of decoding a file as one sentence.

    UTF-16 is refused before the file is read: its bytes often are valid in other encodings, as other texts.

    Args:
        path: of the file.
        encoding: in which it is read.
        option: that sets the encoding; None if the file has to be in this one.

    Raises:
        UserError: the file is in another encoding; the message names the first byte that is not in it.
    """
    shown, wide = encoding.removesuffix("-sig"), None if _has_wide_letters(encoding) else _wide(path)
    if wide:
        raise UserError(f"{path} is in the encoding {wide}, not {shown}: {_remedy(shown, option, wide)}")
    try:
        yield
    except UnicodeError as error:
        where = _first_wrong(path, encoding) or str(error)
        raise UserError(f"{path} is not in the encoding {shown} ({where}): {_remedy(shown, option)}") from error
    except LookupError as error:
        if type(error) is not LookupError:  # a missing key or place
            raise
        raise UserError(f"{path}: {error}; {_remedy(shown, option)}") from error


def read_text(path: Path, encoding: str = "utf-8", option: str | None = None) -> str:
    """Read a file of text.

    Args:
        path: of the file.
        encoding: in which it is read.
        option: that sets the encoding; None if the file has to be in this one.

    Raises:
        UserError: it is in another encoding.
    """
    with decoded(path, encoding, option):
        return path.read_text(encoding=encoding)
    raise AssertionError  # decoded() raises errors as they come


def _remedy(encoding: str, option: str | None, certain: str | None = None) -> str:
    """Advise to set the encoding, which is known of UTF-16 and UTF-32, or to save the file in another."""
    if option is None:
        return f"save it in {encoding}"
    return f"set {option}={certain}" if certain else f"set {option} to the file's, such as {option}=latin-1"


def _has_wide_letters(encoding: str) -> bool:
    """Whether an encoding, however it is spelled, is a form of UTF-16 or UTF-32, whose files have NUL bytes."""
    try:
        return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    except LookupError:
        return False  # the reader states that there is no such encoding


def _wide(path: Path) -> str | None:
    """Recognise UTF-16 and UTF-32 by their mark, and UTF-16 by the NUL bytes of its Latin letters."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return None  # which the reader states
    if found := next((name for mark, name in _MARKS.items() if start.startswith(mark)), None):
        return found
    zeros = [sum(byte == 0 for byte in start[first::2]) for first in (0, 1)]
    if max(zeros) <= len(start) / 4:
        return None
    return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"


def _first_wrong(path: Path, encoding: str) -> str:
    """Describe the first byte that is not in an encoding; empty if the file has none."""
    decoder, before = codecs.getincrementaldecoder(encoding)(), 0
    with path.open("rb") as file:
        while True:
            part = file.read(_PART)
            try:
                decoder.decode(part, final=not part)
            except UnicodeDecodeError as error:
                kept = len(error.object) - len(part)  # of a letter that the parts divide
                return f"byte {before - kept + error.start:,} is 0x{error.object[error.start]:02x}, {error.reason}"
            except UnicodeError:
                return ""
            before += len(part)
            if not part:
                return ""
