"""Input from and output to the terminal, for any character encoding."""

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from tl_lab.errors import UserError
from tl_lab.texts import printable
from tl_lab.warned import print_warnings_in_one_line

__all__ = ["ends_with_its_reader", "prepare_terminal", "print_columns"]


@contextlib.contextmanager
def ends_with_its_reader() -> Iterator[None]:
    """End the process with exit code 0 if the reader of its output has closed the pipe, as ``| head`` does."""
    try:
        try:
            yield
        finally:  # also if a library exits after printing
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise, Python's last flush would also fail
        sys.exit(0)


def prepare_terminal(given: Sequence[str]) -> None:
    r"""Make all names printable and warnings one line, and refuse arguments that cannot be stored in a run's files.

    Characters that the terminal cannot show are written as ``\xe9``.

    Args:
        given: arguments of the program.

    Raises:
        UserError: an argument, or the current folder's name, is not UTF-8.
    """
    print_warnings_in_one_line()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    for text, what in [*((text, "the argument") for text in given), (os.getcwd(), "the current folder")]:  # noqa: PTH109
        if printable(text) != text:
            known = sys.getfilesystemencoding().lower().replace("-", "") == "utf8"
            advice = "rename the file or folder" if known else "set PYTHONUTF8=1 or LC_ALL=C.UTF-8"
            raise UserError(f"{what} {printable(text)!r} is not valid UTF-8 and cannot be stored with a run: {advice}")


def print_columns(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for other programs: columns separated by tabs, and their names in the first line."""
    for row in (titles, *rows):
        print("\t".join(row))
