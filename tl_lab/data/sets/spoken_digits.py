"""Free Spoken Digit Dataset: digits spoken by six people."""

import io
import lzma
import tarfile
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.recordings import Recordings, Wave
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.set_or_pair import SetOrPair
from tl_lab.data.sets.audio import OfAudio
from tl_lab.data.sets.pairs import name_pair
from tl_lab.data.splits import group_split, hold_out
from tl_lab.errors import UserError, nearest
from tl_lab.options import Fraction

__all__ = ["SpokenDigits"]

_HOW_TO_GET = "put fsdd/recordings.tar.xz (or the folder fsdd/recordings) there"
_TESTED = 5  # recordings 0 to 4 of each digit and speaker are the published test set
_RATE = 8000


class SpokenDigits(OfAudio, SetOrPair):
    """Digits spoken by six people, 50 times each: 3,000 recordings at 8,000 Hz.

    In the published split, recordings 0 to 4 of each speaker and digit are for test, and 5 to 49 for training.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        source: source speaker of a pair, or a list of speakers; without a target, the speakers to use. None for all
            speakers except the target.
        target: target speaker of a pair; None for a set without domains.
        split: how a set without domains is split: ``published``, or ``speaker``, where one speaker is for test and
            another for validation, both drawn by the seed.
        val_share: share of the training part (of the source) held out for validation, in (0, 1); unused by
            ``split="speaker"``.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.set_or_pair.SetOrPair`.

    References:
        Z. Jackson et al., "Free Spoken Digit Dataset". https://github.com/Jakobovski/free-spoken-digit-dataset
    """

    speakers: ClassVar[tuple[str, ...]] = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    place_options = ("root",)

    def __init__(
        self,
        *,
        root: str | None = None,
        source: str | Sequence[str] | None = None,
        target: str | None = None,
        split: Literal["published", "speaker"] = "published",
        val_share: Fraction = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(target=target, **options)
        chosen = [name for name in self.speakers if name != target] if source is None else source
        if target is not None:
            self.sources, _ = name_pair(None, chosen, target, self.speakers)
        else:
            self.sources = [chosen] if isinstance(chosen, str) else list(chosen)
            if unknown := [name for name in self.sources if name not in self.speakers]:
                raise UserError(
                    f"data.source: there is no speaker {unknown[0]!r}; {nearest(unknown[0], self.speakers)}"
                )
        if split == "speaker" and target is not None:
            raise UserError("data.split=speaker cannot be combined with data.target, which already splits by speaker")
        self.root, self.split, self.val_share = root, split, val_share

    def read(self) -> dict[str, Samples]:
        """Read the recordings, and split them as published or by speaker."""
        recordings, names = self._recordings()
        self.class_names = [str(digit) for digit in range(10)]
        digits, speakers, numbers = zip(*names, strict=True)
        group = torch.tensor([self.speakers.index(name) for name in speakers])
        whole = Samples(recordings, torch.tensor([int(digit) for digit in digits]), columns={"group": group})
        tested = torch.tensor([int(number) < _TESTED for number in numbers])
        of_source = torch.tensor([name in self.sources for name in speakers])
        if self.split == "speaker":
            chosen = whole.subset(_at(of_source))
            share = 0.5 / len(self.sources)  # small enough that one speaker suffices
            parts = group_split(chosen.columns["group"], {"val": share, "test": share}, self.seed, "speakers")
            return {name: chosen.subset(index) for name, index in parts.items()}
        train, test = whole.subset(_at(of_source & ~tested)), whole.subset(_at(of_source & tested))
        assert train.y is not None
        kept, held_out = hold_out(train.y, {"val": self.val_share}, self.seed, self.class_names)
        sets = {"train": train.subset(kept), "val": train.subset(held_out["val"]), "test": test}
        if self.target is None:
            return sets
        of_target = group == self.speakers.index(self.target)
        sets = {f"source/{name}": samples for name, samples in sets.items()}
        return sets | {
            "target/train": whole.subset(_at(of_target & ~tested)),
            "target/test": whole.subset(_at(of_target & tested)),
        }

    @property
    def column_values(self) -> dict[str, list[str]]:
        """Names of the groups, which are the speakers."""
        return {"group": list(self.speakers)}

    def _recordings(self) -> tuple[Recordings, list[list[str]]]:
        """Read the archive or folder; return the recordings, and the digit, speaker and number of each."""
        place = find_root(self.root, "Free Spoken Digit Dataset", _HOW_TO_GET) / "fsdd"
        archive, folder = place / "recordings.tar.xz", place / "recordings"
        if archive.is_file():
            digest = file_hash(archive)
            found = cached_arrays("spoken_digits", {"archive": digest, "version": 1}, lambda: _arrays(archive))
        elif folder.is_dir():
            found = _arrays(folder)
        else:
            raise missing("Free Spoken Digit Dataset", archive, _HOW_TO_GET)
        parts = np.split(found["samples"], found["ends"][:-1])
        recordings = Recordings([Wave(part, _RATE) for part in parts])
        self.contents = [recordings.fingerprint()]
        return recordings, [name.split("_") for name in found["names"].tolist()]


def _at(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]


def _arrays(place: Path) -> dict[str, np.ndarray]:
    """Decode all recordings, sorted by digit, speaker and number."""
    found: dict[tuple[str, str, int], np.ndarray] = {}
    try:
        for name, content in _files(place):
            digit, speaker, number = name.split("_")
            with wave.open(io.BytesIO(content)) as file:
                if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (_RATE, 1, 2):
                    raise ValueError(f"{name}.wav is not a mono recording of 8,000 Hz with 16 bits")
                samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            if not len(samples):
                raise ValueError(f"{name}.wav is empty")
            found[digit, speaker, int(number)] = samples
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError, wave.Error) as error:
        raise UserError(f"{place} cannot be read ({error}): {_HOW_TO_GET}") from error
    if not found:
        raise UserError(f"{place} contains no recordings: {_HOW_TO_GET}")
    ordered = sorted(found)
    return {
        "samples": np.concatenate([found[name] for name in ordered]),
        "ends": np.cumsum([len(found[name]) for name in ordered]),
        "names": np.array(["_".join(map(str, name)) for name in ordered], dtype=np.str_),
    }


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        yield from ((path.stem, path.read_bytes()) for path in place.glob("*.wav"))
        return
    with tarfile.open(place) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".wav"):
                file = archive.extractfile(member)
                assert file is not None
                yield Path(member.name).stem, file.read()
