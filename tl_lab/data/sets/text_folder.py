"""Text files of the user in one folder per class, as a set or as a domain pair."""

from pathlib import Path
from typing import Any, Literal

from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.texts import TEXT_TYPES, Texts
from tl_lab.data.samples import Samples
from tl_lab.data.sets.class_folders import ClassFolders, FileKind, FolderPair, Scan, find_folder
from tl_lab.data.sets.text import OfTexts
from tl_lab.errors import UserError
from tl_lab.options import Fraction

__all__ = ["TextFolder", "TextFolderPair"]


class _TextFolders(ClassFolders, OfTexts):
    """Text files in class folders."""

    file_kind = FileKind("texts", TEXT_TYPES, "TEXT.txt")
    encoding: str

    @property
    def reading(self) -> dict[str, Any]:
        """Return the text column of tables to predict, and the encoding."""
        return {**super().reading, "encoding": self.encoding}

    def samples_of(self, scan: Scan) -> Samples:
        """Build a set from the listed files."""
        self.notes += scan.notes
        samples = Samples(Texts([self._text(path) for path in scan.paths]), scan.labels)
        self.contents.append(samples.fingerprint())
        return samples

    def _text(self, file: Path) -> str:
        text = read_text(file, self.encoding, "data.encoding").strip()
        if not text:
            raise UserError(f"{file} contains no text: fill it or leave it out")
        return text


class TextFolder(_TextFolders):
    """A folder with one sub-folder of text files (``.txt``) per class.

    A given split has ``path/train/CLASS/...``, ``path/val/CLASS/...`` and ``path/test/CLASS/...``; if one of the last
    two is missing, it is drawn from ``train``. Without a given split, the folder has ``path/CLASS/...``.

    Args:
        path: path of the folder, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        split: ``given``, ``random``, or ``auto``, which means ``given`` if there is a ``train`` folder and all
            sub-folders are parts.
        val_share: share of a class's texts for validation if there is no folder ``val``, in (0, 1).
        test_share: share of a class's texts for test if there is no folder ``test``, in (0, 1).
        encoding: encoding of the files.
        options: keyword arguments of :class:`~tl_lab.data.sets.text.OfTexts`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        split: Literal["auto", "given", "random"] = "auto",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.set_split(split, val_share, test_share)
        self.path, self.encoding = path, encoding

    def read(self) -> dict[str, Samples]:
        """Read the files, and split them unless the folder is already split."""
        self.contents = []
        sets, self.class_names = self.labelled_sets(
            find_folder(self.path, "data.path", self.file_kind.plural), "data.path"
        )
        return sets


class TextFolderPair(_TextFolders, FolderPair):
    """Folders of texts: one or several labelled sources, and a target whose labels are used only for the final score.

    Args:
        encoding: see :class:`TextFolder`.
        options: keyword arguments of :class:`~tl_lab.data.sets.text.OfTexts` and
            :class:`~tl_lab.data.sets.class_folders.FolderPair`.
    """

    def __init__(self, *, encoding: str = "utf-8", **options: Any) -> None:
        super().__init__(**options)
        self.encoding = encoding
