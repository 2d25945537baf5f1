"""Recordings of the user in one folder per class, as a set or as a domain pair."""

from typing import Any, Literal

from tl_lab.data.inputs.recordings import AUDIO_TYPES, Recordings, keep_audible
from tl_lab.data.samples import Samples
from tl_lab.data.sets.audio import OfAudio
from tl_lab.data.sets.class_folders import ClassFolders, FileKind, FolderPair, Scan, find_folder
from tl_lab.options import Fraction

__all__ = ["AudioFolder", "AudioFolderPair"]


class _AudioFolders(ClassFolders, OfAudio):
    """Recordings in class folders."""

    file_kind = FileKind("recordings", AUDIO_TYPES, "RECORDING.wav")
    unreadable: str

    def samples_of(self, scan: Scan) -> Samples:
        """Build a set from the listed files after decoding each of them once."""
        kept, left_out = keep_audible(scan.paths, self.unreadable, scan.folder)
        self.notes += [*scan.notes, *([left_out] if left_out else [])]
        paths = scan.paths
        samples = Samples(Recordings([paths[i] for i in kept]), None if scan.labels is None else scan.labels[kept])
        self.contents.append(samples.fingerprint())
        return samples


class AudioFolder(_AudioFolders):
    """A folder with one sub-folder of recordings (wav, flac, ogg, mp3) per class; sample rates may differ.

    A given split has ``path/train/CLASS/...``, ``path/val/CLASS/...`` and ``path/test/CLASS/...``; if one of the last
    two is missing, it is drawn from ``train``. Without a given split, the folder has ``path/CLASS/...``.

    Args:
        path: path of the folder, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        split: ``given``, ``random``, or ``auto``, which means ``given`` if there is a ``train`` folder and all
            sub-folders are parts.
        val_share: share of a class's recordings for validation if there is no folder ``val``, in (0, 1).
        test_share: share of a class's recordings for test if there is no folder ``test``, in (0, 1).
        unreadable: what to do with recordings that cannot be read or are empty: ``stop``, or ``skip`` them and report
            them in ``notes``.
        options: keyword arguments of :class:`~tl_lab.data.sets.audio.OfAudio`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        split: Literal["auto", "given", "random"] = "auto",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        unreadable: Literal["stop", "skip"] = "stop",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.set_split(split, val_share, test_share)
        self.path, self.unreadable = path, unreadable

    def read(self) -> dict[str, Samples]:
        """Find the files, and split them unless the folder is already split."""
        self.contents = []
        sets, self.class_names = self.labelled_sets(
            find_folder(self.path, "data.path", self.file_kind.plural), "data.path"
        )
        return sets


class AudioFolderPair(_AudioFolders, FolderPair):
    """Folders of recordings: one or several labelled sources, and a target whose labels are used only for the score.

    Args:
        unreadable: see :class:`AudioFolder`.
        options: keyword arguments of :class:`~tl_lab.data.sets.audio.OfAudio` and
            :class:`~tl_lab.data.sets.class_folders.FolderPair`.
    """

    def __init__(self, *, unreadable: Literal["stop", "skip"] = "stop", **options: Any) -> None:
        super().__init__(**options)
        self.unreadable = unreadable
