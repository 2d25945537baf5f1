"""Pages as inputs of a prediction, in Tesseract's formats (TSV, hOCR)."""

import csv
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.layout import Page, page_of
from tl_lab.errors import UserError
from tl_lab.texts import listed, printable

if TYPE_CHECKING:
    from tl_lab.run.inference import TrainedModel

__all__ = ["PAGE_TYPES", "pages_in", "read_pages"]

PAGE_TYPES = frozenset({".tsv", ".hocr", ".html"})
"""Extensions of files with recognised pages."""
_BOX = re.compile(r"bbox\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)")

Rows = list[tuple[str, tuple[float, float, float, float]]]


def read_pages(
    given: Any, model: "TrainedModel", batch_size: int, skip: bool = False
) -> Iterator[tuple[list[str], Any, list[Sequence[str]]]]:
    """Read recognised pages in batches.

    Args:
        given: a file of Tesseract (``.tsv``, ``.hocr``, ``.html``), a folder of such, a list of these, or of pages.
        model: provides the tokeniser.
        batch_size: pages in a batch.
        skip: skip unreadable files with a warning that names them, instead of stopping.

    Yields:
        Names, inputs, and the words of each page.

    Raises:
        UserError: there are no pages, or one cannot be read.
    """
    if isinstance(given, str | os.PathLike | Page):
        given = [given]
    named: list[tuple[str, Page]] = []
    files, bad = 0, []
    for one in given:
        if isinstance(one, Page):
            named.append((str(len(named)), one))
            continue
        if not isinstance(one, str | os.PathLike):
            raise UserError("pages must be files of Tesseract (.tsv, .hocr), folders of these, or Page objects")
        for file in _files_in(Path(one)):
            files += 1
            try:
                named += pages_in(file)
            except UserError as error:
                if not skip:
                    raise UserError(f"{error}; --skip-unreadable (skip_unreadable=True) skips such files") from error
                bad.append(str(error))
    message = f"{len(bad)} of {files} files of pages cannot be used: {listed(bad)}"
    if not named:
        raise UserError(message if bad else "the list of pages is empty")
    if bad:
        warnings.warn(f"skipped: {message}", stacklevel=2)
    spec: Any = model.spec
    for start in range(0, len(named), batch_size):
        part = named[start : start + batch_size]
        yield [name for name, _ in part], spec.fit([page for _, page in part]), [page.words for _, page in part]


def _files_in(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.suffix.lower() in PAGE_TYPES)
        if not found:
            raise UserError(f"{path} contains no recognised pages ({', '.join(sorted(PAGE_TYPES))})")
        return found
    if not path.is_file():
        raise UserError(f"there is no folder or file {path} to predict")
    return [path]


def pages_in(path: Path) -> list[tuple[str, Page]]:
    """Read the pages of a file, each with a name: the file's, followed by a number if there are several.

    Raises:
        UserError: the file contains no words, or is not a file of Tesseract.
    """
    try:
        text = read_text(path, "utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error})") from error
    found = _of_tsv(text, path) if path.suffix.lower() == ".tsv" else _of_hocr(text)
    kept = [(size, rows) for size, rows in found if rows]
    if not kept:
        raise UserError(f"{path} contains no words of a recognised page")
    names = [printable(str(path)) + (f"#{n}" if len(kept) > 1 else "") for n in range(1, len(kept) + 1)]
    return [
        (name, page_of([word for word, _ in rows], [box for _, box in rows], size, name))
        for name, (size, rows) in zip(names, kept, strict=True)
    ]


def _of_tsv(text: str, path: Path) -> list[tuple[tuple[float, float] | None, Rows]]:
    """Read Tesseract's table: level 1 is a page, level 5 a word."""
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    needed = {"level", "page_num", "left", "top", "width", "height", "text"}
    if not rows or not needed <= rows[0].keys():
        raise UserError(f"{path} is not a table of Tesseract, which has the columns {', '.join(sorted(needed))}")
    pages: dict[str, tuple[tuple[float, float] | None, Rows]] = {}
    for number, row in enumerate(rows, 2):
        try:
            left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}, line {number}, has a box that is not a number") from error
        size, words = pages.get(row["page_num"], (None, []))
        size = (width, height) if row["level"] == "1" else size
        if row["level"] == "5" and (row["text"] or "").strip():
            words.append((row["text"].strip(), (left, top, left + width, top + height)))
        pages[row["page_num"]] = size, words
    return list(pages.values())


class _Hocr(HTMLParser):
    """Collects pages and their words."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[tuple[tuple[float, float] | None, Rows]] = []
        self._box: tuple[float, float, float, float] | None = None
        self._depth, self._text = 0, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        classes, match = facts.get("class", "").split(), _BOX.search(facts.get("title", ""))
        box = None if match is None else tuple(map(float, match.groups()))
        if "ocr_page" in classes:
            self.pages.append(((box[2], box[3]) if box else None, []))
        elif "ocrx_word" in classes and box is not None:
            self._box, self._depth, self._text = box, 1, ""  # type: ignore[assignment]
        elif self._box is not None:
            self._depth += 1

    def handle_endtag(self, tag: str) -> None:
        if self._box is None:
            return
        self._depth -= 1
        if self._depth == 0:
            if not self.pages:
                self.pages.append((None, []))
            if self._text.strip():
                self.pages[-1][1].append((self._text.strip(), self._box))
            self._box = None

    def handle_data(self, data: str) -> None:
        if self._box is not None:
            self._text += data


def _of_hocr(text: str) -> list[tuple[tuple[float, float] | None, Rows]]:
    parser = _Hocr()
    parser.feed(text)
    return parser.pages
