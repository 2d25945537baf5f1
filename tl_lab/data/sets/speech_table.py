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
from tl_lab.data.sets.roles import Roles, RowSplit, Shares, numbered, refuse_two_splits
from tl_lab.data.sets.table import file_of
from tl_lab.data.sets.table_files import read_table
from tl_lab.data.splits import group_split
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
            to split by rows. Speakers are also the groups of audits if ``group_column`` is None.
        split_column: name of the column with ``train``, ``val`` and ``test``; None to split by ``split``.
        group_column: name of the column with the group (such as the accent) of each recording, or a list of columns
            whose cells are combined; None if there are no groups.
        domain_column: name of the column with the domain of each recording, or such a list; None if there are no
            domains.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day); None if there are no
            times.
        split: ``random``, with ``speaker_column`` with all recordings of a speaker in one part; ``group``: at random,
            with all recordings of a group in one part; or ``time``: the earliest recordings are for training, the
            latest for test.
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
        group_column: str | Sequence[str] | None = None,
        domain_column: str | Sequence[str] | None = None,
        time_column: str | Sequence[str] | None = None,
        split: RowSplit = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        labelled_seconds: Positive | None = None,
        unreadable: Literal["stop", "skip"] = "stop",
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.shares = Shares(val_share, test_share, self.seed)
        self.roles = Roles(group_column, domain_column, time_column, split)
        refuse_two_splits(split, split_column=split_column, speaker_column=speaker_column)
        if labelled_seconds is not None and self.labels is not None:
            raise UserError("data.labels and data.labelled_seconds both limit the training recordings: set only one")
        self.path, self.encoding, self.unreadable = path, encoding, unreadable
        self.audio_column, self.transcript_column = audio_column, transcript_column
        self.speaker_column, self.split_column = speaker_column, split_column
        self.labelled_seconds = labelled_seconds
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
        known, self.column_values = self.roles.read(table, place)
        split_by = self.roles.content(known)
        if self.speaker_column is not None:
            name = "speaker" if "group" in known else "group"
            known[name], self.column_values[name] = numbered(table[self.speaker_column])
        recordings = Recordings([files[i] for i in kept])
        sets = self._few(self._parts(Samples(recordings, rows, columns=known), table, place))
        heard = sets["train"].y
        assert heard is not None
        self.class_names = Transcript.letters_in([texts[i] for i in heard.tolist()])
        labels = Transcript(self.class_names).encode(texts)
        self.contents = [recordings.fingerprint(), repr(texts), *split_by]
        named = {name: Samples(one.x, labels[one.y], columns=one.columns) for name, one in sets.items()}
        self._say_unknown(named)
        return named

    def _parts(self, whole: Samples, table: pd.DataFrame, place: Path) -> dict[str, Samples]:
        role = "speaker" if "speaker" in whole.columns else "group"
        speakers = torch.arange(len(whole)) if self.speaker_column is None else whole.columns[role]
        if self.split_column is not None:
            cells = cells_of(table[self.split_column]).tolist()
            names = None if self.speaker_column is None else self.column_values[role]
            facts: Any = {"column": self.split_column, "place": place}
            facts |= {"val_share": self.shares.val, "seed": self.seed}
            return split_as_given(whole, cells, speakers, names, "speaker", **facts)
        if self.speaker_column is None:
            return self.roles.parts(whole, self.shares, None)
        wanted = {"val": self.shares.val, "test": self.shares.test}
        index = group_split(speakers, wanted, self.seed, "speakers")
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
