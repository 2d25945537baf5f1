"""Questions whose answers are spans of a passage: files in the SQuAD format, and XQuAD in several languages."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import torch

from tl_lab.data.base import DataModule
from tl_lab.data.cache import file_hash
from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.passages import Passages
from tl_lab.data.request import Request
from tl_lab.data.roots import find_root, missing, places_of
from tl_lab.data.samples import Samples
from tl_lab.errors import UserError
from tl_lab.functional.answers import Passage, words_in
from tl_lab.options import Fraction
from tl_lab.problems import Spans
from tl_lab.texts import counted

__all__ = ["Squad", "XQuad", "read_squad"]

Paragraphs = list[list[tuple[Passage, int, int]]]
"""The questions of each paragraph, each with the positions of the first and last word of its first answer."""


class OfPassages(DataModule):
    """Base class of sets of questions about passages.

    Args:
        options: arguments of the other base class.
    """

    modality = "passage"
    problem_kind = Spans

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shape = ()  # passages have no fixed shape, and backbones do not depend on it
        self.passages: list[Passage] = []

    def load(self, request: Request | None = None) -> None:
        """Read the sets, and pass their passages to the problem, which needs them to compare answers."""
        super().load(request)
        self._shape = ()
        cast(Spans, self.problem).passages = self.passages

    def samples_of(self, paragraphs: Paragraphs) -> Samples:
        """Build a set from questions, and add their passages to ``passages``."""
        rows, items = [], []
        for passage, first, last in (one for paragraph in paragraphs for one in paragraph):
            rows.append([first, last, len(words_in(passage.context)), len(self.passages)])
            self.passages.append(passage)
            items.append(passage)
        self.class_names = ["first word", "last word"]
        return Samples(Passages(items), torch.tensor(rows))


class Squad(OfPassages):
    """Two files in the SQuAD 1.1 format, one for training and one for test.

    Args:
        path: path of the training file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        test_path: path of the test file.
        val_share: share of the training paragraphs for validation.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    References:
        P. Rajpurkar, J. Zhang, K. Lopyrev, P. Liang, "SQuAD: 100,000+ Questions for Machine Comprehension of Text",
        EMNLP 2016. https://arxiv.org/abs/1606.05250
    """

    place_options = ("path", "test_path")

    def __init__(
        self, *, path: str | None = None, test_path: str | None = None, val_share: Fraction = 0.05, **options: Any
    ) -> None:
        super().__init__(**options)
        if path is None or test_path is None:
            raise UserError("data.path and data.test_path must both be set: give the training and the test file")
        self.path, self.test_path, self.val_share = path, test_path, val_share

    def read(self) -> dict[str, Samples]:
        """Read both files, and hold out whole paragraphs for validation."""
        self.passages = []
        train, test = (
            self._paragraphs(path, name) for path, name in ((self.path, "path"), (self.test_path, "test_path"))
        )
        held_out = max(1, round(self.val_share * len(train)))
        if held_out >= len(train):
            raise UserError(
                f"data.path: {self.path} has {counted(len(train), 'paragraph')}, too few for training and validation"
            )
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed)).tolist()
        parts = {
            "train": [train[i] for i in sorted(order[held_out:])],
            "val": [train[i] for i in sorted(order[:held_out])],
        }
        return {name: self.samples_of(part) for name, part in {**parts, "test": test}.items()}

    def _paragraphs(self, path: str, option: str) -> Paragraphs:
        place = next((one for one in places_of(path) if one.is_file()), None)
        if place is None:
            raise UserError(f"data.{option}: there is no file {' or '.join(map(str, places_of(path)))}")
        self.contents.append(file_hash(place))
        return read_squad(place)


class XQuad(OfPassages):
    """XQuAD: 1,190 questions about 240 paragraphs of SQuAD's development set, in English, German and Spanish.

    Paragraphs are split by their numbers, in the same way for all languages: those whose number ends in 4 or 9 are for
    test, those whose number ends in 0 for validation. The test parts of further languages are also scored.

    Args:
        root: folder of the data sets; None for the environment variable ``TL_LAB_DATA``.
        language: language of training, validation and test: ``en``, ``de`` or ``es``.
        others: further languages, used only for testing.
        options: keyword arguments of :class:`~tl_lab.data.base.DataModule`.

    References:
        M. Artetxe, S. Ruder, D. Yogatama, "On the Cross-lingual Transferability of Monolingual Representations", ACL
        2020. https://arxiv.org/abs/1910.11856
    """

    place_options = ("root",)
    languages: ClassVar[tuple[str, ...]] = ("en", "de", "es")

    def __init__(
        self,
        *,
        root: str | None = None,
        language: Literal["en", "de", "es"] = "en",
        others: Sequence[Literal["en", "de", "es"]] = ("de", "es"),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if language in others:
            raise UserError(f"data.others contains {language}, which is already data.language: leave it out")
        self.root, self.language, self.others = root, language, list(others)

    def read(self) -> dict[str, Samples]:
        """Read the files of all languages, and split their paragraphs."""
        how = f"put xquad.{self.language}.json there"
        folder, self.passages = find_root(self.root, "XQuAD", how) / "xquad", []
        sets: dict[str, Samples] = {}
        for language in (self.language, *self.others):
            path = folder / f"xquad.{language}.json"
            if not path.is_file():
                raise missing("XQuAD", path, f"put {path.name} there")
            self.contents.append(file_hash(path))
            paragraphs = list(enumerate(read_squad(path)))
            test = [one for number, one in paragraphs if number % 5 == 4]
            if language != self.language:
                sets[f"{language}/test"] = self.samples_of(test)
                continue
            train = [one for number, one in paragraphs if number % 5 != 4 and number % 10 != 0]
            chooses = [one for number, one in paragraphs if number % 10 == 0]
            sets |= {name: self.samples_of(part) for name, part in (("train", train), ("val", chooses), ("test", test))}
        return sets

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets: of the training language, then of the others."""
        return ["test", *(f"{language}/test" for language in self.others)]

    def domain_of(self, name: str) -> None:
        """Return None, because languages are not separate domains."""


def read_squad(path: Path) -> Paragraphs:
    """Read a file in the SQuAD format; answers that start or end within a word are extended to whole words.

    Raises:
        UserError: the file is damaged or in another format, or an answer is not at its stated position.
    """
    try:
        articles = json.loads(read_text(path))["data"]
        found: Paragraphs = []
        moved = 0
        for paragraph in (one for article in articles for one in article["paragraphs"]):
            context, questions = paragraph["context"], []
            words = words_in(context)
            for asked in paragraph["qas"]:
                answers = asked["answers"]
                if not answers:
                    raise ValueError(f"the question {asked.get('id')} has no answer; such questions are not supported")
                start = int(answers[0]["answer_start"])
                end = start + len(answers[0]["text"])
                if context[start:end] != answers[0]["text"]:
                    raise ValueError(f"the answer to {asked.get('id')} is not at its stated position")
                inside = [k for k, (a, b) in enumerate(words) if b > start and a < end]
                moved += (words[inside[0]][0], words[inside[-1]][1]) != (start, end)
                texts = tuple(dict.fromkeys(answer["text"] for answer in answers))
                questions.append((Passage(asked["question"], context, texts), inside[0], inside[-1]))
            found.append(questions)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is not a file in the SQuAD 1.1 format ({error})") from error
    if not found:
        raise UserError(f"{path} contains no paragraphs")
    if moved:
        warnings.warn(
            f"{path.name}: {moved} answers that start or end within a word were extended to whole words", stacklevel=2
        )
    return found
