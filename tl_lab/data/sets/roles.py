"""Columns of a table with groups, domains and times, and splits of its rows by group or by time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tl_lab.data.inputs.table import cells_of
from tl_lab.data.samples import Samples
from tl_lab.data.sets.columns import Columns, check_columns, names_in, sorted_labels, times_of, together
from tl_lab.data.sets.pairs import name_pair
from tl_lab.data.splits import check_shares, group_split, random_split, split_in_three
from tl_lab.errors import UserError, nearest
from tl_lab.randomness import derive_seed
from tl_lab.texts import counted

__all__ = [
    "Roles",
    "RowSplit",
    "Shares",
    "domains_of",
    "in_time",
    "named_pair",
    "numbered",
    "paired",
    "refuse_two_splits",
    "three_parts",
]

RowSplit = Literal["random", "group", "time"]
NamedPair = tuple[str | None, str | Sequence[str] | None, str | None]
_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True)
class Shares:
    """Shares of the rows for validation and test, and the run's seed.

    Raises:
        UserError: a share would leave a part empty.
    """

    val: float
    test: float
    seed: int

    def __post_init__(self) -> None:
        check_shares(self.val, self.test)


@dataclass(frozen=True)
class Roles:
    """Columns of a table with groups, domains and times, and how its rows are split.

    Args:
        group_column: name of the column with the group of each row, or a list of columns whose cells are
            combined; None if there are no groups.
        domain_column: name of the column with the domain of each row, or such a list; None if there are no domains.
        time_column: name of a column with numbers or dates, or a list (a date and a time of day); None if there are
            no times.
        split: ``random``; ``group``: at random, with all rows of a group in one part; or ``time``: the earliest rows
            are for training, the latest for test.

    Raises:
        UserError: the split requires a column that is not set.
    """

    group_column: Columns | None = None
    domain_column: Columns | None = None
    time_column: Columns | None = None
    split: RowSplit = "random"

    def __post_init__(self) -> None:
        if self.split not in (valid := get_args(RowSplit)):
            raise UserError(f"data.split={self.split} is unknown; {nearest(str(self.split), valid)}")
        if self.split != "random" and not names_in(getattr(self, f"{self.split}_column")):
            raise UserError(
                f"data.split={self.split} requires the column with the {self.split}: set data.{self.split}_column"
            )

    @property
    def named(self) -> list[tuple[str, list[str]]]:
        """Return pairs of an option that is set, and its columns."""
        options = ("group_column", "domain_column", "time_column")
        return [(option, names) for option in options if (names := names_in(getattr(self, option)))]

    def read(self, table: pd.DataFrame, path: Path) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
        """Read the columns that are set.

        Args:
            table: table with these columns.
            path: path of the table, for messages.

        Returns:
            The number of each row's group (``group``) and domain (``domain``), ``(N,)`` int64, and its time
            (``time``), ``(N,)`` float64; and the names of the groups and domains.

        Raises:
            UserError: a column is missing, or has a cell that is not a time.
        """
        found: dict[str, Tensor] = {}
        values: dict[str, list[str]] = {}
        for option, names in self.named:
            check_columns(table, option, names, path)
            role = option.removesuffix("_column")
            if role == "time":
                found[role] = times_of(together(table, names, " "), names)
            else:
                found[role], values[role] = numbered(pd.Series(together(table, names)))
        return found, values

    def content(self, columns: Mapping[str, Tensor]) -> list[str]:
        """Return the content of the column that determines the split, if one does, for ``DataModule.contents``.

        Args:
            columns: as returned by :meth:`read`.
        """
        return [] if self.split == "random" else [repr(columns[self.split].tolist())]

    def parts(self, samples: Samples, shares: Shares, class_names: Sequence[str] | None) -> dict[str, Samples]:
        """Split samples into training, validation and test.

        Args:
            samples: samples with the columns ``group`` or ``time`` if the split requires them.
            shares: shares of the parts.
            class_names: names of the classes, by which a random split is stratified; None if there are no classes.

        Raises:
            UserError: there are too few samples, or too few groups.
        """
        if self.split == "time":
            return in_time(samples, shares.val, shares.test)
        if self.split == "group":
            wanted = {"val": shares.val, "test": shares.test}
            index = group_split(samples.columns["group"], wanted, shares.seed, "groups")
            return {name: samples.subset(places) for name, places in index.items()}
        if class_names is not None:
            return split_in_three(samples, shares.val, shares.test, shares.seed, list(class_names))
        return three_parts(samples, shares.val, shares.test, shares.seed)

    def target_parts(
        self, source: Mapping[str, Samples], target: Samples, shares: Shares, notes: list[str]
    ) -> tuple[Tensor, Tensor]:
        """Split the target of a pair into training and test, independent of labels.

        With ``split=group``, groups that also occur in the source's training or test part are in the same part of the
        target. Groups of its validation part, which selects checkpoints, are left out of the target.

        Args:
            source: parts of the source.
            target: samples of the target.
            shares: shares of the parts.
            notes: receives what deviates from the shares.

        Returns:
            Indices of the training part and of the test part.

        Raises:
            UserError: a part would be empty.
        """
        count = max(1, round(shares.test * len(target)))
        if self.split == "random":
            return random_split(len(target), count, shares.seed, "target/test")
        if self.split == "time":
            if count >= len(target):
                raise UserError(
                    f"data.test_share={shares.test} leaves none of the target's {counted(len(target), 'row')} for "
                    "training"
                )
            order = target.columns["time"].argsort(stable=True)
            return order[:-count], order[-count:]
        groups = target.columns["group"]
        tested = torch.isin(groups, _tested_groups(source, groups, count, shares.seed))
        left_out = torch.isin(groups, source["val"].columns["group"].unique())
        train, test = (places.nonzero()[:, 0] for places in (~tested & ~left_out, tested))
        if not len(train) or not len(test):
            raise UserError(
                "data.target: its groups cannot be divided into training and test, because too few of them do not "
                "occur in the source: use data.split=random, or other domains"
            )
        if out := int(left_out.sum()):
            notes.append(
                f"target: {out:,} of {len(target):,} rows left out, because their groups are in the source's "
                "validation part"
            )
        if len(test) < count / 2:
            notes.append(
                f"target/test: {len(test):,} of {len(target):,} rows instead of {shares.test:.0%}, because the other "
                "groups occur in the source"
            )
        return train, test


def refuse_two_splits(split: str, **columns: str | None) -> None:
    """Refuse a split by group or time beside a column that determines the split.

    Args:
        split: the option ``split``.
        columns: value of each option that names such a column.

    Raises:
        UserError: both are set.
    """
    if split != "random" and (given := [option for option, name in columns.items() if name is not None]):
        raise UserError(f"data.split={split} and data.{given[0]} both determine the split: set only one")


def _tested_groups(source: Mapping[str, Samples], groups: Tensor, count: int, seed: int) -> Tensor:
    """Draw the groups of a target's test part, in addition to those of the source's test part."""
    known = {name: part.columns["group"].unique() for name, part in source.items()}
    chosen = known["test"].tolist()
    taken = int(torch.isin(groups, known["test"]).sum())
    free, sizes = np.unique(groups[~torch.isin(groups, torch.cat(list(known.values())))].numpy(), return_counts=True)
    for place in np.random.default_rng(derive_seed(seed, "groups", "target/test")).permutation(len(free)):
        if taken >= count:
            break
        chosen.append(int(free[place]))
        taken += int(sizes[place])
    return torch.tensor(chosen)


def in_time(samples: Samples, val_share: float, test_share: float) -> dict[str, Samples]:
    """Split samples by their column ``time`` into training, validation and test, in chronological order.

    Samples with equal times stay in their order.

    Args:
        samples: samples with the column.
        val_share: share of all samples for validation.
        test_share: share of all samples for test.
    """
    order, count = samples.columns["time"].argsort(stable=True), len(samples)
    test = count - max(1, round(test_share * count))
    val = test - max(1, round(val_share * count))
    if val < 1:
        raise UserError(f"the table has {counted(count, 'row')}, too few for training, validation and test")
    return {
        "train": samples.subset(order[:val]),
        "val": samples.subset(order[val:test]),
        "test": samples.subset(order[test:]),
    }


def three_parts(samples: Samples, val_share: float, test_share: float, seed: int) -> dict[str, Samples]:
    """Split samples at random, independent of labels.

    Args:
        samples: samples to split.
        val_share: share of all samples for validation.
        test_share: share of all samples for test.
        seed: the run's seed.
    """
    count = len(samples)
    rest, test = random_split(count, max(1, round(test_share * count)), seed, "test")
    train, val = random_split(len(rest), max(1, round(val_share * count)), seed, "val")
    return {"train": samples.subset(rest[train]), "val": samples.subset(rest[val]), "test": samples.subset(test)}


def numbered(column: pd.Series) -> tuple[Tensor, list[str]]:
    """Number the distinct cells of a column in sorted order.

    Returns:
        The number of each row's cell, ``(N,)`` int64, and the distinct cells.
    """
    cells = cells_of(column).tolist()
    values = sorted_labels(cells)
    places = {value: number for number, value in enumerate(values)}
    return torch.tensor([places[cell] for cell in cells]), values


# ---------------------------------------------------------------------- pairs of domains


def named_pair(
    pair: str | None, source: str | Sequence[str] | None, target: str | None, cut: float | None
) -> NamedPair:
    """Return the options that name source and target; with ``cut``, they are ``before`` and ``after`` by default."""
    return (pair, source or _BEFORE, target or _AFTER) if cut is not None and pair is None else (pair, source, target)


def domains_of(table: pd.DataFrame, columns: Columns, cut: float | None, path: Path) -> list[str]:
    """Return the domain of each row.

    Args:
        table: the table.
        columns: names of the columns with the domain; with ``cut``, with numbers or dates.
        cut: share of the rows, in the order of the columns, that are the domain ``before``; the others are ``after``.
            None if the cells are the domains.
        path: path of the table, for messages.

    Raises:
        UserError: a column is missing, or has a cell that cannot be ordered.
    """
    check_columns(table, "domain_column", names_in(columns), path)
    if cut is None:
        return together(table, names_in(columns))
    times = times_of(together(table, names_in(columns), " "), columns, "domain_column")
    early = set(times.argsort(stable=True)[: max(1, round(cut * len(times)))].tolist())
    return [_BEFORE if row in early else _AFTER for row in range(len(times))]


def paired(
    samples: Samples,
    domains: Sequence[str],
    named: NamedPair,
    roles: Roles,
    shares: Shares,
    class_names: Sequence[str] | None,
    notes: list[str],
) -> dict[str, Samples]:
    """Divide the rows of a table into source and target, and split both.

    Args:
        samples: all rows.
        domains: domain of each row.
        named: source and target, as returned by :func:`named_pair`.
        roles: how each domain is split.
        shares: shares of the parts of each domain.
        class_names: see :meth:`Roles.parts`.
        notes: see :meth:`Roles.target_parts`.

    Returns:
        The sets of a :class:`~tl_lab.data.scenarios.domain_pair.DomainPair`.

    Raises:
        UserError: a domain does not exist, or is too small.
    """
    sources, target = name_pair(*named, sorted(set(domains)))
    of_source = samples.subset(torch.tensor([one in sources for one in domains]).nonzero()[:, 0])
    of_target = samples.subset(torch.tensor([one == target for one in domains]).nonzero()[:, 0])
    if len(of_target) < 2:
        raise UserError(
            f"data.target: the domain {target!r} has {counted(len(of_target), 'row')}, too few for training and test"
        )
    parts = roles.parts(of_source, shares, class_names)
    train, test = roles.target_parts(parts, of_target, shares, notes)
    sets = {f"source/{name}": part for name, part in parts.items()}
    return {**sets, "target/train": of_target.subset(train), "target/test": of_target.subset(test)}
