"""Format of warnings on the screen."""

import warnings
from pathlib import Path

__all__ = ["print_warnings_in_one_line"]

_PACKAGE = Path(__file__).resolve().parent


def print_warnings_in_one_line() -> None:
    """Print warnings of this project without their location in the code; those of libraries keep their format."""
    if warnings.formatwarning is not _as_sentence:
        _as_sentence.others = warnings.formatwarning  # type: ignore[attr-defined]
        warnings.formatwarning = _as_sentence


def _as_sentence(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    if Path(filename).is_relative_to(_PACKAGE):
        return f"tl_lab: warning: {message}\n"
    return str(_as_sentence.others(message, category, filename, lineno, line))  # type: ignore[attr-defined]
