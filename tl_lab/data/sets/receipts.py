"""SROIE: receipts as words with boxes, from which company, date, address and total are extracted."""

import json
import lzma
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tl_lab.data.base import DataModule
from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.layout import Page, Pages, page_of
from tl_lab.data.request import Request
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.sets.fields import find_amount, find_lines, find_text
from tl_lab.errors import UserError
from tl_lab.evaluation.sequence import PADDING
from tl_lab.problems import Sequence

__all__ = ["OfPages", "Receipts", "words_of_line"]

_HOW_TO_GET = "put sroie/box_key.tar.xz there"
_TESTED, _EVERY, _CHOOSES = 4, 5, 10  # test if number % 5 == 4, validation if number % 10 == 0

Box = tuple[float, float, float, float]


class OfPages(DataModule):
    """Base class of sets of pages.

    Args:
        options: arguments of the other base class.

    Attributes:
        pages: pages of each set before tokenisation, by the name of the set.
    """

    modality = "tokens_with_boxes"
    problem_kind = Sequence

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shape = ()  # pages have no fixed shape, and backbones do not depend on it
        self.pages: dict[str, Pages] = {}

    def load(self, request: Request | None = None) -> None:
        """Read the sets, and keep their pages."""
        super().load(request)
        self._shape = ()
        self.pages = {name: samples.x for name, samples in self.sets.items() if isinstance(samples.x, Pages)}


class Receipts(OfPages):
    """626 receipts of SROIE's training part: words, their boxes, and the values of four fields.

    The values were transcribed by hand, and the files do not state which words they correspond to. They are matched to
    words approximately (see :mod:`tl_lab.data.sets.fields`); a value that is not found has no tag, and ``notes`` report
    how many there are. The box of a line is divided among its words in proportion to their letters. The extent of a
    page is that of its boxes, because there are no images.

    SROIE's own split is not in the files. Here, receipts whose number ends in 4 or 9 are for test, and those whose
    number ends in 0 for validation, so that scores are not comparable with published ones.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    References:
        Z. Huang et al., "ICDAR2019 Competition on Scanned Receipt OCR and Information Extraction", ICDAR 2019.
        https://arxiv.org/abs/2103.10213
    """

    fields: ClassVar[tuple[str, ...]] = ("company", "date", "address", "total")
    place_options = ("root",)

    def __init__(self, *, root: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.root = root

    def read(self) -> dict[str, Samples]:
        """Read the receipts, and split them by their numbers."""
        path = find_root(self.root, "SROIE", _HOW_TO_GET) / "sroie" / "box_key.tar.xz"
        if not path.is_file():
            raise missing("SROIE", path, _HOW_TO_GET)
        digest = file_hash(path)
        found = cached_arrays("receipts", {"archive": digest, "version": 1}, lambda: self._arrays(path))
        self.contents = [digest]
        self.class_names = ["O", *(f"{mark}-{field}" for field in self.fields for mark in "BI")]
        ends = found["ends"].tolist()
        words, boxes = found["words"].tolist(), [tuple(box) for box in found["boxes"].tolist()]
        starts = [0, *ends[:-1]]
        pages = [Page(tuple(words[a:b]), tuple(boxes[a:b])) for a, b in zip(starts, ends, strict=True)]
        longest = max(len(page.words) for page in pages)
        y = torch.full((len(pages), longest), PADDING)
        for row, (a, b) in enumerate(zip(starts, ends, strict=True)):
            y[row, : b - a] = torch.from_numpy(found["tags"][a:b])
        lost, wanted = found["lost"].tolist()
        self.notes.append(f"{lost:,} of {wanted:,} field values were not found among the words")
        self.notes.append("the split is not SROIE's: scores are not comparable with published ones")
        numbers = found["numbers"]
        whole = Samples(Pages(pages), y)
        parts = {
            "train": (numbers % _EVERY != _TESTED) & (numbers % _CHOOSES != 0),
            "val": numbers % _CHOOSES == 0,
            "test": numbers % _EVERY == _TESTED,
        }
        return {name: whole.subset(torch.from_numpy(np.flatnonzero(mask))) for name, mask in parts.items()}

    def _arrays(self, path: Path) -> dict[str, np.ndarray]:
        """Read the archive, and tag the words of each receipt."""
        boxes, keys = _contents(path)
        rows = []
        lost = wanted = 0
        for name in sorted(boxes):
            words, places, lines = _read_boxes(boxes[name], f"{path}, {name}.csv")
            page = page_of(words, places, None, f"{path}, {name}.csv")
            fields = {field: str(keys.get(name, {}).get(field) or "").strip() for field in self.fields}
            tags, missed = tag_words(fields, words, lines, [(box[1] + box[3]) / 2 for box in places])
            lost, wanted = lost + missed, wanted + sum(map(bool, fields.values()))
            rows.append((int(name), page, tags))
        return {
            "numbers": np.array([number for number, _, _ in rows]),
            "ends": np.cumsum([len(page.words) for _, page, _ in rows]),
            "words": np.array([word for _, page, _ in rows for word in page.words], dtype=np.str_),
            "boxes": np.array([box for _, page, _ in rows for box in page.boxes], dtype=np.int64),
            "tags": np.array([tag for _, _, tags in rows for tag in tags], dtype=np.int64),
            "lost": np.array([lost, wanted]),
        }


def tag_words(
    fields: dict[str, str], words: list[str], lines: list[tuple[int, int]], middles: list[float]
) -> tuple[list[int], int]:
    """Tag the words of a page with the fields to which they belong.

    The first word of the k-th field has the tag 1 + 2 k, its other words have 2 + 2 k, and words of no field have 0.

    Args:
        fields: value of each field by name, in the order of the tags; empty values are skipped.
        words: words of the page.
        lines: for each line, the positions of its first word and of the word after its last.
        middles: vertical middle of each word's box.

    Returns:
        One tag per word, and the number of values that were not found.
    """
    tags, lost = [0] * len(words), 0
    for k, (field, value) in enumerate(fields.items()):
        if not value:
            continue
        if field == "total":
            place = find_amount(value, lines, words, middles)
            span = None if place is None else (place, place + 1)
        else:
            span = find_text(value, words) if field == "date" else find_lines(value, lines, words)
        if span is None or any(tags[span[0] : span[1]]):
            lost += 1
            continue
        tags[span[0] : span[1]] = [1 + 2 * k] + [2 + 2 * k] * (span[1] - span[0] - 1)
    return tags, lost


def words_of_line(text: str, box: Box) -> list[tuple[str, Box]]:
    """Divide a line's box among its words in proportion to their letters and the spaces between them."""
    left, top, right, bottom = box
    found, place = [], 0
    for word in text.split():
        place = text.index(word, place)
        a, b = (left + (right - left) * at / max(1, len(text)) for at in (place, place + len(word)))
        found.append((word, (a, top, b, bottom)))
        place += len(word)
    return found


def _read_boxes(content: str, where: str) -> tuple[list[str], list[Box], list[tuple[int, int]]]:
    """Read a file of lines; return words, their boxes, and the range of words of each line."""
    words: list[str] = []
    boxes: list[Box] = []
    lines: list[tuple[int, int]] = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        cells = line.split(",", 8)
        try:
            corners = [float(cell) for cell in cells[:8]]
            text = cells[8].strip()
        except (ValueError, IndexError) as error:
            raise UserError(f"{where}, line {number}, is not a box of eight numbers with a text") from error
        box = (min(corners[::2]), min(corners[1::2]), max(corners[::2]), max(corners[1::2]))
        found = words_of_line(text, box)
        lines += [(len(words), len(words) + len(found))] if found else []
        words += [word for word, _ in found]
        boxes += [place for _, place in found]
    return words, boxes, lines


def _contents(path: Path) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    boxes: dict[str, str] = {}
    keys: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None:
                    continue
                content, place = file.read().decode("utf-8", "replace"), Path(member.name)
                if place.parent.name == "box":
                    boxes[place.stem] = content
                elif place.parent.name == "key":
                    keys[place.stem] = json.loads(content)
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read ({error}): {_HOW_TO_GET}") from error
    if not boxes:
        raise UserError(f"{path} contains no receipts: {_HOW_TO_GET}")
    return boxes, keys
