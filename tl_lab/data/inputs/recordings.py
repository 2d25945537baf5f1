"""Recordings in memory or in files, kept as waveforms until the features for a backbone are known."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.cache import cached_arrays, file_hash
from tl_lab.data.inputs.audio import AudioSpec
from tl_lab.data.inputs.finding import files_below
from tl_lab.data.inputs.operations import Inputs
from tl_lab.errors import UserError
from tl_lab.texts import listed, printable

__all__ = ["AUDIO_TYPES", "Recordings", "Wave", "keep_audible", "read_wave", "recordings_below"]

AUDIO_TYPES = frozenset({".wav", ".flac", ".ogg", ".mp3"})
"""File name extensions of recordings; all but .wav require the library soundfile."""


class Wave(NamedTuple):
    """A recording.

    Attributes:
        samples: int16, or float in [-1, 1], ``(S,)``.
        rate: sample rate in Hz.
    """

    samples: np.ndarray
    rate: int


class Recordings:
    """A list of recordings, with the interface of :class:`~tl_lab.data.samples.LazyInputs`.

    Args:
        items: waveforms or sound files.
    """

    def __init__(self, items: Sequence[Wave | Path]) -> None:
        self.items = list(items)
        self.notes: list[str] = []
        """Description of how the recordings were changed."""

    def __len__(self) -> int:
        return len(self.items)

    def bytes_for(self, spec: AudioSpec) -> int:
        """Estimate the bytes of the features as twice those of the recordings: samples of 16 bits become floats."""
        sizes = [item.stat().st_size if isinstance(item, Path) else item.samples.nbytes for item in self.items]
        return 2 * sum(sizes)

    def wave(self, i: int) -> Wave:
        """Return one recording, with samples in [-1, 1]."""
        item = self.items[i]
        samples, rate = read_wave(item) if isinstance(item, Path) else item
        return Wave(samples / np.float32(32768) if samples.dtype == np.int16 else samples, rate)

    def read(self, i: int, spec: AudioSpec) -> Inputs:
        """Compute the features of one recording; return named tensors without the sample dimension."""
        return {name: tensor[0] for name, tensor in spec.joined([spec.features_of(*self.wave(i))]).items()}

    def read_batch(self, places: Sequence[int], spec: AudioSpec) -> Inputs:
        """Compute the features of several recordings, padded to the longest."""
        return spec.joined([spec.features_of(*self.wave(i)) for i in places])

    def load_all(self, spec: AudioSpec, workers: int = 0) -> dict[str, Tensor]:
        """Compute the features of all recordings; the result is cached by features and recordings.

        Args:
            spec: kind of features.
            workers: ignored; the transforms take less time than starting processes.
        """
        key = {"spec": spec.state(), "recordings": self.fingerprint(), "version": 1}
        found = cached_arrays("recordings", key, lambda: self._features(spec))
        parts = np.split(found["features"], found["ends"][:-1], axis=-1)
        cut, changed = found["counts"].tolist()
        self.notes = [f"{changed:,} of {len(self):,} recordings resampled to {spec.rate:,} Hz"] if changed else []
        self.notes += [f"{cut:,} of {len(self):,} recordings cut to {spec.seconds:g} s"] if cut else []
        return spec.joined([torch.from_numpy(part) for part in parts])

    def _features(self, spec: AudioSpec) -> dict[str, np.ndarray]:
        parts, cut, changed = [], 0, 0
        for i in range(len(self)):
            wave = self.wave(i)
            parts.append(spec.features_of(*wave).numpy())
            cut, changed = cut + spec.cuts(len(wave.samples), wave.rate), changed + (wave.rate != spec.rate)
        return {
            "features": np.concatenate(parts, -1),
            "ends": np.cumsum([part.shape[-1] for part in parts]),
            "counts": np.array([cut, changed]),
        }

    def subset(self, index: Tensor) -> "Recordings":
        """Return the recordings at ``index``, ``(M,)``, int64, or where a mask is true, in that order."""
        return Recordings([self.items[i] for i in torch.arange(len(self))[index.cpu()].tolist()])

    def concatenate(self, parts: "Sequence[Recordings]") -> "Recordings":
        """Concatenate lists of recordings."""
        return Recordings([item for part in parts for item in part.items])

    def digests(self) -> list[str]:
        """Return a hash of each recording: of the file's content, or of sample rate and samples."""
        return [_digest(item) for item in self.items]

    def fingerprint(self) -> str:
        """Return a hash of all recordings, in order: 64 hexadecimal digits."""
        return hashlib.sha256("\n".join(self.digests()).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"Recordings({len(self)})"


def _digest(item: Wave | Path) -> str:
    if isinstance(item, Path):
        return file_hash(item)[:32]
    return hashlib.blake2b(
        item.samples.tobytes(), digest_size=16, key=f"{item.rate} {item.samples.dtype}".encode()
    ).hexdigest()


def read_wave(path: Path) -> Wave:
    """Read a sound file; several channels are averaged.

    Raises:
        UserError: the file is damaged or empty, or its format requires the library soundfile.
    """
    try:
        samples, rate = _decoded(path)
    except UserError:
        raise
    except Exception as error:  # decoders raise arbitrary errors for damaged files
        raise UserError(f"{printable(str(path))} cannot be read as sound ({str(error).splitlines()[0]})") from error
    if not len(samples):
        raise UserError(f"{printable(str(path))} contains no sound: it is empty")
    return Wave(samples, rate)


def _decoded(path: Path) -> Wave:
    try:
        import soundfile
    except ImportError:
        soundfile = None
    if soundfile is not None:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
        return Wave(samples.mean(1), int(rate))
    if path.suffix.lower() != ".wav":
        raise UserError(f"{printable(str(path))} needs the library soundfile: install tl_lab[speech]")
    from scipy.io import wavfile

    rate, samples = wavfile.read(path)
    if samples.dtype.kind == "f":
        scaled = samples.astype(np.float32)
    elif samples.dtype == np.uint8:
        scaled = (samples.astype(np.float32) - 128) / 128
    else:
        scaled = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return Wave(scaled if scaled.ndim == 1 else scaled.mean(1), int(rate))


def recordings_below(folder: Path) -> list[Path]:
    """List the recordings in a folder and its sub-folders, sorted."""
    return [folder / name for name in files_below(folder, AUDIO_TYPES)]


def _below(file: Path, folder: Path) -> str:
    """Return the path of a file relative to a folder that contains it, or else its name."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else file.name


def keep_audible(files: Sequence[Path], unreadable: str, where: Path) -> tuple[list[int], str]:
    """Skip recordings that are unreadable or empty, or raise an error.

    Args:
        files: the sound files.
        unreadable: ``stop`` or ``skip``.
        where: folder of the files, for the message.

    Returns:
        The positions of the readable files, and a description of the skipped ones (empty if none).

    Raises:
        UserError: some files cannot be used and the option is ``stop``, or none can be used.
    """
    bad: dict[int, str] = {}
    for i, path in enumerate(files):
        try:
            read_wave(path)
        except UserError as error:
            bad[i] = str(error).removeprefix(f"{printable(str(path))} ")
    if not bad:
        return list(range(len(files))), ""
    message = f"{len(bad)} of {len(files)} recordings in {where} cannot be used: " + listed(
        f"{printable(_below(files[i], where))} {reason}" for i, reason in bad.items()
    )
    if unreadable == "stop":
        raise UserError(f"{message}; remove or replace them, or set data.unreadable=skip to leave them out")
    if len(bad) == len(files):
        raise UserError(message)
    return [i for i in range(len(files)) if i not in bad], f"skipped: {message}"
