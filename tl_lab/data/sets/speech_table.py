"""Recordings and their transcripts, listed in a table."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.inputs.recordings import Recordings, keep_audible
from tl_lab.data.inputs.table import cells_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.audio import OfAudio
from tl_lab.data.sets.columns import check_columns
from tl_lab.data.sets.given_split import split_as_given
from tl_lab.data.sets.table import file_of
from tl_lab.data.sets.table_files import read_table
from tl_lab.data.sets.tables import numbered
from tl_lab.data.sets.text_table import three_parts
from tl_lab.data.splits import check_shares, group_split
from tl_lab.errors import UserError
from tl_lab.functional.transcripts import plain_text
from tl_lab.options import Fraction, Positive
from tl_lab.problems import Transcript
from tl_lab.randomness import generator
from tl_lab.texts import counted, listed

__all__ = ["SpeechTable", "drawn_seconds"]


class SpeechTable(OfAudio):
    """A table (csv, tsv, jsonl or parquet) with a recording (wav, flac, ogg, mp3) and its transcript in each row.

    Transcripts are normalised by :func:`~tl_lab.functional.transcripts.plain_text`. The alphabet consists of the
    letters in the training part; other letters count as errors.

    Args:
        path: path of the table, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        audio_column: name of the column with the files' paths relative to the table.
        transcript_column: name of the column with the transcripts.
        speaker_column: name of the column with the speaker, to keep the recordings of a speaker in the same part; None
            to split by rows.
        split_column: name of the column with ``train``, ``val`` and ``test``; None to split by the seed.
        val_share: share of all recordings, or of the training ones if a column gives the test, for validation.
        test_share: share of all recordings for test.
        labelled_seconds: seconds of speech in the training set, whose recordings are drawn by the seed; None for all.
        unreadable: what to do with recordings that cannot be read or are empty: ``stop``, or ``skip`` them and report
            them in ``notes``.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.sets.audio.OfAudio`.
    """

    problem_kind = Transcript
    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        audio_column: str = "path",
        transcript_column: str = "transcript",
        speaker_column: str | None = None,
        split_column: str | None = None,
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        labelled_seconds: Positive | None = None,
        unreadable: Literal["stop", "skip"] = "stop",
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        if labelled_seconds is not None and self.labels is not None:
            raise UserError("data.labels and data.labelled_seconds both limit the training recordings: set only one")
        self.path, self.encoding, self.unreadable = path, encoding, unreadable
        self.audio_column, self.transcript_column = audio_column, transcript_column
        self.speaker_column, self.split_column = speaker_column, split_column
        self.val_share, self.test_share, self.labelled_seconds = val_share, test_share, labelled_seconds
        self.column_values: dict[str, list[str]] = {}

    @property
    def for_backbone(self) -> dict[str, Any]:
        """Return the argument that requests features of each frame."""
        return {"frames": True}

    def read(self) -> dict[str, Samples]:
        """Read the table, check the files, and split the rows."""
        place = file_of(self.path)
        table = read_table(place, self.encoding)
        columns: dict[str, str | None] = {"audio_column": self.audio_column}
        columns |= {"transcript_column": self.transcript_column}
        columns |= {"speaker_column": self.speaker_column, "split_column": self.split_column}
        for option, name in columns.items():
            if name is not None:
                check_columns(table, option, [name], place)
        files = [place.parent / cell for cell in cells_of(table[self.audio_column])]
        kept, left_out = keep_audible(files, self.unreadable, place.parent)
        self.notes += [left_out] if left_out else []
        table = table.iloc[kept].reset_index(drop=True)
        texts = cells_of(table[self.transcript_column]).tolist()
        if empty := [row for row, text in enumerate(texts, 1) if not plain_text(text)]:
            raise UserError(
                f"{place}: column {self.transcript_column!r} is empty in {counted(len(empty), 'row')} "
                f"({listed(map(str, empty))}): fill or remove them"
            )
        rows = torch.arange(len(table))
        groups = {} if self.speaker_column is None else {"group": self._speakers(table[self.speaker_column])}
        recordings = Recordings([files[i] for i in kept])
        sets = self._few(self._parts(Samples(recordings, rows, columns=groups), table, place))
        heard = sets["train"].y
        assert heard is not None
        self.class_names = Transcript.letters_in([texts[i] for i in heard.tolist()])
        labels = Transcript(self.class_names).encode(texts)
        self.contents = [recordings.fingerprint(), repr(texts)]
        named = {name: Samples(one.x, labels[one.y], columns=one.columns) for name, one in sets.items()}
        self._say_unknown(named)
        return named

    def _speakers(self, column: pd.Series) -> Tensor:
        codes, self.column_values["group"] = numbered(column)
        return codes

    def _parts(self, whole: Samples, table: pd.DataFrame, place: Path) -> dict[str, Samples]:
        groups = whole.columns.get("group", torch.arange(len(whole)))
        if self.split_column is not None:
            cells, names = cells_of(table[self.split_column]).tolist(), self.column_values.get("group")
            facts: Any = {"column": self.split_column, "place": place, "val_share": self.val_share, "seed": self.seed}
            return split_as_given(whole, cells, groups, names, "speaker", **facts)
        if self.speaker_column is None:
            return three_parts(whole, self.val_share, self.test_share, self.seed)
        shares = {"val": self.val_share, "test": self.test_share}
        index = group_split(groups, shares, self.seed, "speakers")
        return {name: whole.subset(places) for name, places in index.items()}

    def _few(self, sets: dict[str, Samples]) -> dict[str, Samples]:
        """Draw ``labelled_seconds`` of training recordings, if they are set."""
        if self.labelled_seconds is None:
            return sets
        train, recordings = sets["train"], sets["train"].x
        assert isinstance(recordings, Recordings)
        waves = (recordings.wave(i) for i in range(len(recordings)))
        seconds = [len(wave.samples) / wave.rate for wave in waves]
        index, total = drawn_seconds(seconds, self.labelled_seconds, self.seed)
        if total < self.labelled_seconds:
            warnings.warn(
                f"data.labelled_seconds={self.labelled_seconds:g}: training has only {total:.1f} seconds of speech",
                stacklevel=2,
            )
        self.notes.append(f"train: {len(index):,} of {len(train):,} recordings, {total:.1f} s of labelled speech")
        return {**sets, "train": train.subset(index)}

    def _say_unknown(self, sets: dict[str, Samples]) -> None:
        unknown = self.class_names.index("unknown")
        for name in ("val", "test"):
            y = sets[name].y
            if y is not None and (count := int((y == unknown).sum())):
                self.notes.append(f"{name}: {counted(count, 'letter')} absent from training; each counts as an error")


def drawn_seconds(seconds: Sequence[float], wanted: float, seed: int) -> tuple[Tensor, float]:
    """Draw recordings until they have a total duration; with the same seed, a larger draw contains the smaller ones.

    Args:
        seconds: duration of each recording, in seconds.
        wanted: required total duration, in seconds.
        seed: the run's seed.

    Returns:
        Positions of the drawn recordings in ascending order, and their total duration in seconds, which is below
        ``wanted`` only if all recordings are drawn.
    """
    order = torch.randperm(len(seconds), generator=generator(seed, "labelled seconds"))
    sums = torch.tensor(seconds, dtype=torch.double)[order].cumsum(0)
    count = min(len(seconds), 1 + int((sums < wanted).sum()))
    return order[:count].sort().values, float(sums[count - 1])
