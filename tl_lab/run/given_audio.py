"""Recordings as inputs of a prediction: files, folders, or waveforms with their sample rates."""

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tl_lab.data.inputs.recordings import AUDIO_TYPES, Recordings, Wave, keep_audible, recordings_below
from tl_lab.errors import UserError
from tl_lab.texts import printable

if TYPE_CHECKING:
    from tl_lab.run.inference import TrainedModel

__all__ = ["batches_of_recordings", "read_audio"]


def read_audio(given: Any, model: "TrainedModel", batch_size: int, skip: bool) -> Iterator[tuple[list[str], Any]]:
    """Read recordings in batches.

    Args:
        given: a file, a folder (searched recursively), a list of these, or a list of pairs of samples and rate.
        model: provides the features.
        batch_size: recordings in a batch.
        skip: skip recordings that are unreadable or empty with a warning that names them, instead of stopping.

    Yields:
        Names and features.

    Raises:
        UserError: there are no recordings, or one cannot be read.
    """
    if isinstance(given, str | os.PathLike):
        given = [given]
    if given and all(isinstance(one, str | os.PathLike) for one in given):
        names = [name for one in given for name in _names_of(Path(one))]
        yield from batches_of_recordings(names, list(map(Path, names)), model, batch_size, skip)
        return
    try:
        waves = [Wave(_checked(samples), int(rate)) for samples, rate in given]
    except (TypeError, ValueError) as error:
        raise UserError("recordings must be files, folders, or pairs of samples (S,) and rate") from error
    if not waves:
        raise UserError("the list of inputs is empty: give files, or pairs of samples and rate")
    yield from _computed([str(i) for i in range(len(waves))], Recordings(waves), model, batch_size)


def _checked(samples: Any) -> np.ndarray:
    array = np.asarray(samples)
    if array.ndim != 1 or not len(array):
        raise ValueError("one channel of at least one sample")
    return array if array.dtype == np.int16 else array.astype(np.float32)


def _names_of(path: Path) -> list[str]:
    if path.is_dir():
        found = [str(one) for one in recordings_below(path)]
        if not found:
            raise UserError(f"{path} contains no recordings ({', '.join(sorted(AUDIO_TYPES))})")
        return found
    if not path.is_file():
        raise UserError(f"there is no folder or file {path} to predict")
    return [str(path)]


def batches_of_recordings(
    names: Sequence[str], files: Sequence[Path], model: "TrainedModel", batch_size: int = 256, skip: bool = False
) -> Iterator[tuple[list[str], Any]]:
    """Compute the features of files in batches.

    Args:
        names: displayed names of the files.
        files: their paths.
        model, batch_size, skip: see :func:`read_audio`.
    """
    folders = {file.parent for file in files}
    where = folders.pop() if len(folders) == 1 else Path(os.path.commonpath([one.absolute() for one in folders]))
    try:
        kept, left_out = keep_audible(files, "skip" if skip else "stop", where)
    except UserError as error:
        raise UserError(str(error).replace("set data.unreadable=skip to", "give --skip-unreadable to")) from error
    if left_out:
        warnings.warn(left_out, stacklevel=2)
    chosen = Recordings([files[i] for i in kept])
    yield from _computed([printable(names[i]) for i in kept], chosen, model, batch_size)


def _computed(
    names: list[str], recordings: Recordings, model: "TrainedModel", batch_size: int
) -> Iterator[tuple[list[str], Any]]:
    spec: Any = model.spec
    for start in range(0, len(names), batch_size):
        part = recordings.subset(torch.arange(start, min(start + batch_size, len(names))))
        waves = [part.wave(i) for i in range(len(part))]
        yield names[start : start + batch_size], spec.fit(waves)
