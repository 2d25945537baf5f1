"""Published sets of texts and pairs of texts: MR, CoLA, AG News, RTE, MRPC and STS-B."""

import csv
from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import torch

from tl_lab.data.encodings import read_text
from tl_lab.data.inputs.texts import Texts
from tl_lab.data.inputs.tokenisers import Text
from tl_lab.data.samples import Samples
from tl_lab.data.sets.text import PAIR_COLUMNS, Published, TextSet, samples_of
from tl_lab.data.splits import check_shares, hold_out, split_in_three
from tl_lab.errors import UserError
from tl_lab.options import Fraction
from tl_lab.problems import Regression

__all__ = ["AgNews", "Cola", "Mr", "Mrpc", "Rte", "StsB", "similarities"]


class _Cut(Published, TextSet):
    """Base class of published sets without a validation part, which is held out from the training part.

    Args:
        val_share: share of the training part for validation, in (0, 1).
        options: ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.
    """

    def __init__(self, *, val_share: Fraction = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.val_share = val_share

    def cut(self, train: Samples, test: Samples) -> dict[str, Samples]:
        """Hold out a stratified validation part from the training part."""
        self.contents = [train.fingerprint(), test.fingerprint()]
        assert train.y is not None
        kept, held_out = hold_out(train.y, {"val": self.val_share}, self.seed, self.class_names)
        return {"train": train.subset(kept), "val": train.subset(held_out["val"]), "test": test}

    def table(self, name: str, header: int | None = 0) -> pd.DataFrame:
        """Read a file of tab-separated cells in which quotation marks have no special meaning."""
        return self.cells(name, sep="\t", quoting=csv.QUOTE_NONE, header=header)

    def classes(self, column: Sequence[str], known: Sequence[str], name: str) -> list[int]:
        """Convert the labels of a file to the positions of the known labels.

        Raises:
            UserError: a label is unknown.
        """
        if wrong := [(row, label) for row, label in enumerate(column, 1) if label not in known]:
            row, label = wrong[0]
            raise UserError(f"{self.place}/{name}, row {row}, has the label {label!r}: labels are {', '.join(known)}")
        return [known.index(label) for label in column]


class Mr(Published, TextSet):
    """MR: sentences of film reviews, 5,331 positive and 5,331 negative; two thirds of them also occur in SST-2.

    Args:
        val_share: share of all sentences for validation.
        test_share: share of all sentences for test.
        options: ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.

    References:
        B. Pang, L. Lee, "Seeing Stars", ACL 2005. https://arxiv.org/abs/cs/0506075
    """

    title, place = "MR", "text/mr"
    how_to_get = "put rt-polarity.neg and rt-polarity.pos there"

    def __init__(self, *, val_share: Fraction = 0.1, test_share: Fraction = 0.1, **options: Any) -> None:
        super().__init__(**options)
        check_shares(val_share, test_share)
        self.val_share, self.test_share = val_share, test_share

    def read(self) -> dict[str, Samples]:
        """Read both files, and split their sentences."""
        self.class_names = ["negative", "positive"]
        texts, labels = [], []
        for label, ending in enumerate(("neg", "pos")):
            lines = read_text(self._file(f"rt-polarity.{ending}"), "latin-1").split("\n")
            found = [line.strip() for line in lines if line.strip()]
            texts += found
            labels += [label] * len(found)
        samples = samples_of(texts, labels)
        self.contents = [samples.fingerprint()]
        return split_in_three(samples, self.val_share, self.test_share, self.seed, self.class_names)


class Cola(_Cut):
    """CoLA: sentences from linguistic texts, acceptable or not; 8,551 for training, 516 from other sources for test.

    Args:
        options: ``val_share``, ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.

    References:
        A. Warstadt, A. Singh, S. R. Bowman, "Neural Network Acceptability Judgments", TACL 2019.
        https://arxiv.org/abs/1805.12471
    """

    title, place = "CoLA", "text/cola"
    how_to_get = "put train.tsv and dev.tsv (sentence, label) there"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read both parts; the second is the test."""
        self.class_names = ["unacceptable", "acceptable"]
        return self.cut(*(self._part(name) for name in ("train.tsv", "dev.tsv")))

    def _part(self, name: str) -> Samples:
        table = self.table(name, header=None)
        return samples_of(self.filled(table[0].tolist(), name), self.classes(table[1].tolist(), ("0", "1"), name))


class AgNews(_Cut):
    """AG News: descriptions of news in four topics; 10,001 of the 120,000 for training, and all 7,600 for test.

    Titles are not used, because the training sample has none. Training descriptions that occur in the test part are
    dropped.

    Args:
        options: ``val_share``, ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.

    References:
        X. Zhang, J. Zhao, Y. LeCun, "Character-level Convolutional Networks for Text Classification", NeurIPS 2015.
        https://arxiv.org/abs/1509.01626
    """

    title, place = "AG News", "text/ag_news"
    how_to_get = "put train_10k.tsv (description, topic) and test.csv (label, title, description) there"
    topics: ClassVar[tuple[str, ...]] = ("World", "Sports", "Business", "Sci/Tech")

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read both parts, and drop training descriptions that occur in the test part."""
        self.class_names = list(self.topics)
        test = self.cells("test.csv")
        known = set(test["description"].str.strip())
        train = self.table("train_10k.tsv", header=None)
        here = train[0].str.strip().isin(known)
        if bool(here.any()):
            self.notes.append(f"{int(here.sum())} training descriptions that occur in the test part were dropped")
            train = train[~here]
        numbers = [str(n) for n in range(1, 5)]
        return self.cut(
            samples_of(
                self.filled(train[0].tolist(), "train_10k.tsv"),
                self.classes(train[1].tolist(), self.topics, "train_10k.tsv"),
            ),
            samples_of(
                self.filled(test["description"].tolist(), "test.csv"),
                self.classes(test["label"].tolist(), numbers, "test.csv"),
            ),
        )


class Rte(_Cut):
    """RTE: whether a text entails a hypothesis; 2,490 pairs for training, the 277 of the development set for test.

    Args:
        options: ``val_share``, ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.

    References:
        A. Wang et al., "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding", ICLR
        2019. https://arxiv.org/abs/1804.07461
    """

    title, place = "RTE", "glue/rte"
    text_columns = PAIR_COLUMNS
    how_to_get = "put train.tsv and dev.tsv there"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read both parts; the second is the test."""
        self.class_names = ["entailment", "not_entailment"]
        return self.cut(*(self._part(name) for name in ("train.tsv", "dev.tsv")))

    def _part(self, name: str) -> Samples:
        table = self.table(name)
        pairs = list(zip(table["sentence1"], table["sentence2"], strict=True))
        return samples_of(self.filled(pairs, name), self.classes(table["label"].tolist(), self.class_names, name))


class Mrpc(_Cut):
    """MRPC: whether two sentences from news are paraphrases; 4,076 pairs for training and 1,725 for test.

    Args:
        options: ``val_share``, ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.

    References:
        W. B. Dolan, C. Brockett, "Automatically Constructing a Corpus of Sentential Paraphrases", IWP 2005.
    """

    title, place = "MRPC", "glue/mrpc"
    text_columns = PAIR_COLUMNS
    how_to_get = "put msr_paraphrase_train.txt and msr_paraphrase_test.txt there"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read both parts."""
        self.class_names = ["different", "paraphrase"]
        return self.cut(*(self._part(f"msr_paraphrase_{name}.txt") for name in ("train", "test")))

    def _part(self, name: str) -> Samples:
        table = self.table(name)
        pairs = list(zip(table["#1 String"], table["#2 String"], strict=True))
        return samples_of(self.filled(pairs, name), self.classes(table["Quality"].tolist(), ("0", "1"), name))


class StsB(Published, TextSet):
    """STS-B: similarity of two sentences, from 0 to 5; 5,749 training, 1,500 validation and 1,379 test pairs.

    Args:
        options: ``root`` and those of :class:`~tl_lab.data.sets.text.TextSet`.

    References:
        D. Cer et al., "SemEval-2017 Task 1: Semantic Textual Similarity", SemEval 2017.
        https://arxiv.org/abs/1708.00055
    """

    title, place = "STS-B", "glue/stsb"
    text_columns = PAIR_COLUMNS
    how_to_get = "put sts-train.tsv, sts-dev.tsv and sts-test.tsv there"
    problem_kind = Regression

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def read(self) -> dict[str, Samples]:
        """Read the three parts."""
        self.class_names = ["similarity"]
        parts = {"train": "train", "val": "dev", "test": "test"}
        sets = {name: similarities(self, file)[0] for name, file in parts.items()}
        self.contents = [samples.fingerprint() for samples in sets.values()]
        return sets


def similarities(data: Published, part: str) -> tuple[Samples, list[str]]:
    """Read a file of STS-B.

    Args:
        data: the data module, which provides the folder.
        part: ``train``, ``dev`` or ``test``.

    Returns:
        Pairs with their similarity, ``(N, 1)`` in [0, 5], and the genre of each pair: ``captions``, ``news`` or
        ``forums``.

    Raises:
        UserError: a line does not have seven cells, or has an invalid score.
    """
    name = f"sts-{part}.tsv"
    lines = read_text(data._file(name)).split("\n")
    pairs: list[Text] = []
    scores, genres = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = line.split("\t")
        try:
            genre, score, first, second = cells[0], float(cells[4]), cells[5], cells[6]
        except (IndexError, ValueError) as error:
            raise UserError(f"{data.place}/{name}, line {number}, is not a pair with a score ({error})") from error
        pairs.append((first.strip(), second.strip()))
        scores.append(score)
        # one of the files writes the genre in the singular
        genres.append(genre.removeprefix("main-").replace("forum", "forums").replace("forumss", "forums"))
    return Samples(Texts(data.filled(pairs, name)), torch.tensor(scores)[:, None]), genres
