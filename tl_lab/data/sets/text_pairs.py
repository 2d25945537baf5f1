"""Pairs of domains of texts: the genres of STS-B, and tables with a column for the domain."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch

from tl_lab.data.samples import Samples
from tl_lab.data.scenarios.domain_pair import DomainPair
from tl_lab.data.sets.columns import names_in
from tl_lab.data.sets.pairs import name_pair
from tl_lab.data.sets.roles import Roles, RowSplit, domains_of, named_pair, paired
from tl_lab.data.sets.text import PAIR_COLUMNS, OfTexts, Published
from tl_lab.data.sets.text_corpora import StsB, similarities
from tl_lab.data.sets.text_table import TableOfTexts
from tl_lab.options import Fraction
from tl_lab.problems import Regression

__all__ = ["StsBGenres", "TextTablePair"]


class StsBGenres(Published, OfTexts, DomainPair):
    """Genres of STS-B as domains: similarity, from 0 to 5, of two sentences from captions, news or forums.

    Args:
        pair: source and target in one option, as in ``captions_to_news`` or, for several sources,
            ``captions+forums_to_news``; None to use the next two options.
        source: a genre or a list of genres.
        target: a genre.
        options: ``root`` and those of :class:`~tl_lab.data.scenarios.domain_pair.DomainPair`.

    References:
        D. Cer et al., "SemEval-2017 Task 1: Semantic Textual Similarity", SemEval 2017.
        https://arxiv.org/abs/1708.00055
    """

    title, place, how_to_get = StsB.title, StsB.place, StsB.how_to_get
    genres: ClassVar[tuple[str, ...]] = ("captions", "news", "forums")
    text_columns = PAIR_COLUMNS
    problem_kind = Regression

    def __init__(
        self,
        *,
        pair: str | None = None,
        source: str | Sequence[str] | None = "captions",
        target: str | None = "news",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sources, self.target = name_pair(pair, source, target, self.genres)

    def read(self) -> dict[str, Samples]:
        """Read the three files, and select the genres."""
        self.class_names = ["similarity"]
        sets: dict[str, Samples] = {}
        for part, file in (("train", "train"), ("val", "dev"), ("test", "test")):
            samples, genres = similarities(self, file)
            for domain, names in (("source", self.sources), ("target", [self.target])):
                chosen = torch.tensor([genre in names for genre in genres])
                sets[f"{domain}/{part}"] = samples.subset(chosen.nonzero()[:, 0])
        del sets["target/val"]  # target labels are not used for selection
        self.contents = [samples.fingerprint() for samples in sets.values()]
        return sets


class TextTablePair(TableOfTexts, OfTexts, DomainPair):
    """A table with a column for the domain: one or several domains are the source, another one is the target.

    Args:
        path: path of the file, absolute or relative to the current folder or to ``TL_LAB_DATA``.
        text_column: name of the column with the text; a list of two columns for pairs of texts.
        label_column: name of the column with the class or the number; or a list of columns with numbers, or with 0 and
            1 for multi-label data.
        domain_column: name of the column with the domain, or a list of columns whose cells are combined, as in
            ``news-uk``; with ``cut``, a column of numbers or dates.
        cut: share of the rows, in the order of ``domain_column``, that form the domain ``before``; the others form
            ``after``. None if the values of the column are the domains.
        group_column: name of the column with the group of each sample, or a list of columns whose cells are combined;
            None if there are no groups.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day); None if there are no
            times.
        pair: source and target in one option, ``a_to_b``; None to use the next two options.
        source: a domain or a list of domains; with ``cut``, None means ``before``.
        target: a domain; with ``cut``, None means ``after``.
        predict: ``classes`` or ``numbers``.
        split: how each domain is split: ``random``, the source stratified by class; ``group``: at random, with all
            rows of a group in one part: groups of the source's training or test part are in the same part of the
            target, and those of its validation part are left out of the target; or ``time``: the earliest rows are for
            training, the latest for test.
        val_share: share of the source's rows for validation.
        test_share: share of each domain's rows for test.
        encoding: encoding of a text file.
        options: keyword arguments of :class:`~tl_lab.data.scenarios.domain_pair.DomainPair`.
    """

    place_options = ("path",)

    def __init__(
        self,
        *,
        path: str | None = None,
        text_column: str | Sequence[str] = "text",
        label_column: str | Sequence[str] = "label",
        domain_column: str | Sequence[str] = "domain",
        cut: Fraction | None = None,
        group_column: str | Sequence[str] | None = None,
        time_column: str | Sequence[str] | None = None,
        pair: str | None = None,
        source: str | Sequence[str] | None = None,
        target: str | None = None,
        predict: Literal["classes", "numbers"] = "classes",
        split: RowSplit = "random",
        val_share: Fraction = 0.1,
        test_share: Fraction = 0.2,
        encoding: str = "utf-8",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        roles = Roles(group_column, time_column=time_column, split=split)
        self.take(path, text_column, label_column, val_share, test_share, encoding, predict, roles)
        self.domain_column, self.cut, self._named = domain_column, cut, named_pair(pair, source, target, cut)

    def read(self) -> dict[str, Samples]:
        """Read the table, and split each domain."""
        samples, table, path = self.rows(("domain_column", names_in(self.domain_column)))
        domains = domains_of(table, self.domain_column, self.cut, path)
        self.contents.append(repr(domains))
        return paired(samples, domains, self._named, self.roles, self.shares, self.stratified_by, self.notes)
