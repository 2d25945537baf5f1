"""A split given by a column of a table, with each group of samples in a single part."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tl_lab.data.samples import Samples
from tl_lab.data.splits import group_split
from tl_lab.errors import UserError
from tl_lab.texts import listed

__all__ = ["split_as_given"]

_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_as_given(
    whole: Samples,
    cells: Sequence[str],
    groups: Tensor,
    names: Sequence[str] | None,
    kind: str,
    *,
    column: str,
    place: Path,
    val_share: float,
    seed: int,
) -> dict[str, Samples]:
    """Split samples as a table states, after checking that no group is in two parts.

    If the table has no validation part, groups of the training part are drawn for it.

    Args:
        whole: all samples.
        cells: part of each sample, as written in the table.
        groups: number of each sample's group, ``(N,)``.
        names: names of the groups; None if they have none.
        kind: kind of groups: ``patient`` or ``speaker``.
        column: name of the column with the parts, for messages.
        place: path of the table, for messages.
        val_share: share of the training samples for validation if the column has no validation part.
        seed: the run's seed.

    Returns:
        The sets ``train``, ``val`` and ``test``.

    Raises:
        UserError: a cell is not a part, train or test is missing, or a group is in two parts.
    """
    parts = [_PARTS.get(cell.strip().lower(), "") for cell in cells]
    if "" in parts or not {"train", "test"} <= set(parts):
        raise UserError(
            f"data.split_column={column}: the cells in {place} must be train, val or test, and train and test must "
            "both occur"
        )
    index = {name: torch.tensor([i for i, one in enumerate(parts) if one == name]) for name in dict.fromkeys(parts)}
    of = {name: set(groups[places].tolist()) for name, places in index.items()}
    for name, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if both := sorted(of.get(name, set()) & of.get(other, set())):
            named = map(str, both) if names is None else [names[one] for one in both]
            raise UserError(
                f"{place}: {len(both)} {kind}s are in {name} and in {other} ({listed(named)}): assign each {kind} "
                f"to one part, or leave data.split_column out to split by {kind}s"
            )
    if "val" not in index:
        train = index["train"]
        held_out = group_split(groups[train], {"val": val_share}, seed, f"{kind}s")
        index |= {name: train[places] for name, places in held_out.items()}
    return {name: whole.subset(index[name]) for name in ("train", "val", "test")}
