"""Recordings of the user, in one folder per class."""

from pathlib import Path
from typing import Any, Literal

import torch

from tl_lab.data.inputs.finding import class_folders
from tl_lab.data.inputs.recordings import Recordings, keep_audible, recordings_below
from tl_lab.data.roots import places_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.audio import OfAudio
from tl_lab.data.splits import check_shares, hold_out, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.texts import listed

__all__ = ["AudioFolder"]


class AudioFolder(OfAudio):
    """A folder with one sub-folder of recordings (wav, flac, ogg, mp3) per class; sample rates may differ.

    The recordings are split by the seed, unless the folder contains ``train``, ``test`` and optionally ``val``, each
    with one sub-folder per class.

    Args:
        path: path of the folder, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        val_share: share of all recordings, or of those in ``train`` if there is a ``test`` but no ``val``, for
            validation.
        test_share: share of all recordings for test.
        unreadable: what to do with recordings that cannot be read or are empty: ``stop``, or ``skip`` them and report
            them in ``notes``.
        options: keyword arguments of :class:`~tl_lab.data.sets.audio.OfAudio`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        unreadable: Literal["stop", "skip"] = "stop",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if path is None:
            raise UserError("data.path is not set: give a folder with one sub-folder of recordings per class")
        check_shares(val_share, test_share)
        self.path, self.val_share, self.test_share, self.unreadable = path, val_share, test_share, unreadable

    def read(self) -> dict[str, Samples]:
        """Find the files, and split them unless the folder is already split."""
        folder = next((place for place in places_of(self.path) if place.is_dir()), None)
        if folder is None:
            raise UserError(f"data.path: there is no folder {' or '.join(map(str, places_of(self.path)))}")
        given = [name for name in ("train", "val", "test") if (folder / name).is_dir()]
        if not {"train", "test"} <= set(given):
            samples = self._part(folder)
            self.contents = [samples.fingerprint()]
            return split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)
        sets = {name: self._part(folder / name) for name in given}
        self.contents = [samples.fingerprint() for samples in sets.values()]
        if "val" not in sets:
            train = sets["train"]
            assert train.y is not None
            kept, held_out = hold_out(train.y, {"val": self.val_share}, self.seed, self.class_names)
            sets |= {"train": train.subset(kept), "val": train.subset(held_out["val"])}
        return sets

    def _part(self, folder: Path) -> Samples:
        """Read a folder of class folders; the first folder read determines the classes."""
        folders = class_folders(folder)
        files = {name: recordings_below(place) for name, place in folders.items()}
        if empty := [name for name, found in files.items() if not found]:
            raise UserError(f"data.path: there is no recording in {listed(empty)} of {folder}")
        if len(files) < 2:
            raise UserError(
                f"data.path: {folder} has {listed(files) or 'no folder'}: it must have one folder for each class"
            )
        self.class_names = self.class_names or list(files)
        if unknown := [name for name in files if name not in self.class_names]:
            raise UserError(f"data.path: {folder} has the class {unknown[0]!r}, which train does not have")
        paths = [path for found in files.values() for path in found]
        labels = [self.class_names.index(name) for name, found in files.items() for _ in found]
        kept, left_out = keep_audible(paths, self.unreadable, folder)
        self.notes += [left_out] if left_out else []
        return Samples(Recordings([paths[i] for i in kept]), torch.tensor([labels[i] for i in kept]))
