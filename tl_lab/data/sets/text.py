"""Base class of sets of texts, and two published sets: SST-2 and TREC."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.encodings import decoded, read_text
from tl_lab.data.inputs.spec import InputSpec
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.inputs.tokenisers import Text
from tl_lab.data.roots import find_root, missing
from tl_lab.data.samples import Samples
from tl_lab.data.sets.sequences import OfSequences
from tl_lab.data.splits import hold_out
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.results.screen import console
from tl_lab.texts import listed

__all__ = ["PAIR_COLUMNS", "OfTexts", "Published", "Sst2", "TextSet", "Trec", "samples_of"]

PAIR_COLUMNS = ("sentence1", "sentence2")
"""Columns of tables to predict by a run on published pairs of texts; GLUE's names."""

_MANY = 50_000  # number of texts whose tokenisation takes several seconds
# in one line of the available copies, the second half of the label follows the first word of the question
_MISPRINT, _MEANT = "NUM:How count many ", "NUM:count How many "


class OfTexts(OfSequences):
    """Base class of sets and pairs of texts.

    Args:
        options: arguments of :class:`~tl_lab.data.sets.sequences.OfSequences` and of the other base class.
    """

    modality = "text"
    text_columns: Sequence[str] = ("text",)
    """Columns of tables to predict: one with texts, or two with the parts of pairs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.strings: dict[str, Texts] = {}  # the texts of each set as strings, kept when tokens replace them

    def count_places(self, x: Mapping[str, Tensor]) -> Tensor:
        """Return the number of tokens of each text."""
        return x["mask"].sum(-1)

    def use(self, spec: InputSpec) -> None:
        """Tokenise the sets, and keep the strings for prompts."""
        self.strings = {name: samples.x for name, samples in self.sets.items() if isinstance(samples.x, Texts)}
        if (count := sum(map(len, self.strings.values()))) >= _MANY:
            console.say(f"Preparing {count:,} texts")
        super().use(spec)

    @property
    def reading(self) -> dict[str, Any]:
        """Return the columns of texts and the encoding of tables to predict."""
        return {"text_column": list(self.text_columns), "encoding": "utf-8"}


class TextSet(OfTexts):
    """A labelled set of texts.

    Args:
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)


class Published(OfTexts):
    """Base class of published texts, which are in the folder of data sets.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        options: arguments of the other base class.
    """

    title: ClassVar[str]
    place: ClassVar[str]
    how_to_get: ClassVar[str]
    place_options = ("root",)

    def __init__(self, *, root: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.root = root

    def _file(self, name: str) -> Path:
        path = find_root(self.root, self.title, self.how_to_get) / self.place / name
        if not path.is_file():
            raise missing(self.title, path, self.how_to_get)
        return path

    def filled(self, texts: Sequence[Text], name: str) -> Sequence[Text]:
        """Return the texts or pairs of texts of a file, none of which is blank.

        Args:
            texts: of all rows.
            name: of the file.

        Raises:
            UserError: there are none, or some are blank.
        """
        if not texts:
            raise UserError(f"{self.place}/{name} has no rows: {self.how_to_get}")
        rows = [row for row, text in enumerate(texts, 1) if not all(map(str.strip, _parts_of(text)))]
        if rows:
            raise UserError(
                f"{self.place}/{name}: the text is empty in {len(rows):,} of {len(texts):,} rows "
                f"({listed(map(str, rows))}): fill them or leave these rows out"
            )
        return texts

    def cells(self, name: str, **options: Any) -> pd.DataFrame:
        """Read a file with a table, whose cells remain strings.

        Args:
            name: of the file.
            options: of ``pandas.read_csv``.

        Raises:
            UserError: the file is absent, damaged, or in another encoding than UTF-8.
        """
        path = self._file(name)
        try:
            with decoded(path, "utf-8-sig"):
                return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **options)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}): {self.how_to_get}") from error
        raise AssertionError  # decoded() raises errors as they come


class Sst2(Published, TextSet):
    """SST-2: sentences of film reviews, positive or negative; 67,349 training, 872 validation and 1,821 test sentences.

    Args:
        options: ``root`` and those of :class:`TextSet`.

    References:
        R. Socher et al., "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank", EMNLP 2013.
    """

    title, place = "SST-2", "text/sst2"
    how_to_get = "put train.tsv, dev.tsv and test.tsv (label, sentence) there"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read the three parts."""
        self.class_names = ["negative", "positive"]
        sets = {name: self._part(file) for name, file in (("train", "train"), ("val", "dev"), ("test", "test"))}
        self.contents = [samples.fingerprint() for samples in sets.values()]
        return sets

    def _part(self, name: str) -> Samples:
        path = self._file(f"{name}.tsv")
        table = self.cells(f"{name}.tsv", sep="\t", quoting=csv.QUOTE_NONE)
        labels = pd.to_numeric(table.iloc[:, 0], errors="coerce")
        if bool((~labels.isin([0, 1])).any()):
            row = int((~labels.isin([0, 1])).to_numpy().argmax())
            raise UserError(f"{path}, row {row + 1}, has the label {table.iloc[row, 0]!r}: labels of SST-2 are 0 and 1")
        return samples_of(self.filled(table.iloc[:, 1].tolist(), path.name), labels.astype(int).tolist())


class Trec(Published, TextSet):
    """TREC: questions by the kind of answer, in six coarse or fifty fine classes; 5,452 training, 500 test questions.

    Args:
        fine: whether to use the fine classes, for which there are 5,444 training and 499 test questions.
        val_share: share of the training part for validation, in (0, 1).
        options: ``root`` and those of :class:`TextSet`.

    References:
        X. Li, D. Roth, "Learning Question Classifiers", COLING 2002.
    """

    title, place = "TREC", "text/trec"
    how_to_get = "put TREC.train.all and TREC.test.all, or train_5500.label and TREC_10.label for fine classes, there"
    coarse: ClassVar[tuple[str, ...]] = ("description", "entity", "abbreviation", "human", "location", "number")

    def __init__(self, *, fine: bool = False, val_share: Fraction = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.fine, self.val_share = fine, val_share

    def read(self) -> dict[str, Samples]:
        """Read both parts, and hold out the validation set from the training part."""
        files = ("train_5500.label", "TREC_10.label") if self.fine else ("TREC.train.all", "TREC.test.all")
        train, test = (self._lines(name) for name in files)
        names = sorted({label for label, _ in train}) if self.fine else [str(c) for c in range(len(self.coarse))]
        self.class_names = names if self.fine else list(self.coarse)
        parts = []
        for rows, name in ((train, files[0]), (test, files[1])):
            if unknown := [label for label, _ in rows if label not in names]:
                raise UserError(f"{self.place}/{name} has the unknown label {unknown[0]!r}")
            parts.append(
                samples_of(self.filled([text for _, text in rows], name), [names.index(label) for label, _ in rows])
            )
        self.contents = [samples.fingerprint() for samples in parts]
        y = parts[0].y
        assert y is not None
        kept, held_out = hold_out(y, {"val": self.val_share}, self.seed, self.class_names)
        return {"train": parts[0].subset(kept), "val": parts[0].subset(held_out["val"]), "test": parts[1]}

    def _lines(self, name: str) -> list[tuple[str, str]]:
        lines = read_text(self._file(name), "latin-1").split("\n")
        halves = [line.replace(_MISPRINT, _MEANT).partition(" ") for line in lines if line.strip()]
        return [(label, text.strip()) for label, _, text in halves]


def _parts_of(text: Text) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text


def samples_of(texts: Sequence[Text], labels: Sequence[int]) -> Samples:
    """Build a set from texts and the numbers of their classes."""
    return Samples(Texts(texts), torch.tensor(labels, dtype=torch.int64))
