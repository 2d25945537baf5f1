"""Escape untrusted texts of runs, so that programs that open the files display them and never execute them.

This module does not import torch.
"""

import re
from typing import TYPE_CHECKING, Any

from tl_lab.texts import no_formula

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["csv_text", "markdown_text"]

_TAG = re.compile(r"<(?=[A-Za-z/!?])")


def csv_text(table: "pd.DataFrame") -> str:
    """Convert a table to CSV; texts that a spreadsheet would read as formulas are prefixed with an apostrophe."""
    quoted = table.rename(columns=_quoted)
    for name in quoted.select_dtypes(exclude="number"):
        quoted[name] = quoted[name].map(_quoted)
    return str(quoted.to_csv(index=False, lineterminator="\n"))


def markdown_text(text: str) -> str:
    """Escape characters that would start an HTML tag."""
    return _TAG.sub("&lt;", text)


def _quoted(cell: Any) -> Any:
    return no_formula(cell) if isinstance(cell, str) else cell
