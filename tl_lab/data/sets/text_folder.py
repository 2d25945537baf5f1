"""Text files of the user, in one folder per class."""

from pathlib import Path
from typing import Any

from tl_lab.data.encodings import read_text
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.text import TextSet, samples_of
from tl_lab.data.splits import check_shares, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.texts import listed

__all__ = ["TextFolder"]

_PARTS = ("train", "val", "test")


class TextFolder(TextSet):
    """A folder with one sub-folder of text files (``.txt``) per class.

    The texts are split by the seed, unless the folder contains ``train``, ``test`` and optionally ``val``, each with
    one sub-folder per class.

    Args:
        path: path of the folder, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        val_share: share of all texts, or of those of ``train`` if there is a ``test`` but no ``val``, for validation.
        test_share: share of all texts for test.
        encoding: encoding of the files.
        options: keyword arguments of :class:`~tl_lab.data.sets.text.TextSet`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if path is None:
            raise UserError("data.path is not set: give a folder with one sub-folder of .txt files per class")
        check_shares(val_share, test_share)
        self.path, self.val_share, self.test_share, self.encoding = path, val_share, test_share, encoding

    def read(self) -> dict[str, Samples]:
        """Read the files, and split them unless the folder is already split."""
        folder = next((place for place in places_of(self.path) if place.is_dir()), None)
        if folder is None:
            raise UserError(f"data.path: there is no folder {' or '.join(map(str, places_of(self.path)))}")
        given = [name for name in _PARTS if (folder / name).is_dir()]
        if not {"train", "test"} <= set(given):
            samples = self._part(folder)
            self.contents = [samples.fingerprint()]
            return split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)
        sets = {name: self._part(folder / name) for name in given}
        self.contents = [samples.fingerprint() for samples in sets.values()]
        if "val" not in sets:
            train = split_in_three(sets["train"], self.val_share, self.val_share, self.seed, self.class_names)
            sets |= {"train": Samples.concatenate([train["train"], train["test"]]), "val": train["val"]}
        return sets

    def _part(self, folder: Path) -> Samples:
        """Read a folder of class folders; the first folder read determines the classes."""
        names = sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
        files = {name: sorted((folder / name).rglob("*.txt")) for name in names}
        if empty := [name for name in names if not files[name]]:
            raise UserError(f"data.path: there is no .txt file in {listed(empty)} of {folder}")
        if len(names) < 2:
            raise UserError(
                f"data.path: {folder} has {listed(names) or 'no folder'}: it must have one folder for each class"
            )
        self.class_names = self.class_names or names
        if unknown := [name for name in names if name not in self.class_names]:
            raise UserError(f"data.path: {folder} has the class {unknown[0]!r}, which train does not have")
        texts = [self._text(file) for name in names for file in files[name]]
        return samples_of(texts, [self.class_names.index(name) for name in names for _ in files[name]])

    def _text(self, file: Path) -> str:
        text = read_text(file, self.encoding, "data.encoding").strip()
        if not text:
            raise UserError(f"{file} contains no text: fill it or leave it out")
        return text
