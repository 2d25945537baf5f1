"""Split a set into training, validation and test sets."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tl_lab.data.samples import Samples
from tl_lab.errors import UserError
from tl_lab.randomness import derive_seed
from tl_lab.texts import counted, listed

__all__ = [
    "check_labels",
    "check_shares",
    "few_in_strata",
    "few_labels",
    "group_split",
    "hold_out",
    "of_classes",
    "random_split",
    "split_in_three",
]


def check_shares(val_share: float, test_share: float) -> None:
    """Reject shares that would leave a part empty.

    Raises:
        UserError: a share is not above 0, or their sum is 1 or more.
    """
    if val_share <= 0 or test_share <= 0 or val_share + test_share >= 1:
        raise UserError(
            f"data.val_share and data.test_share must be above 0 and together below 1, not {val_share} and {test_share}"
        )


def check_labels(y: Tensor, num_classes: int, origin: str) -> None:
    """Reject labels outside the range of classes.

    Args:
        y: classes, ``(N,)``, int64.
        num_classes: number of classes C.
        origin: description of the labels, for the message.

    Raises:
        UserError: a label is not in 0..C - 1.
    """
    outside = (y < 0) | (y >= num_classes)
    if bool(outside.any()):
        first = int(outside.nonzero()[0, 0])
        raise UserError(
            f"{origin} contain {int(y[first])} (sample {first + 1}; "
            f"{counted(int(outside.sum()), 'invalid label')}): labels must be in 0..{num_classes - 1}"
        )


def hold_out(
    y: Tensor, shares: dict[str, float], seed: int, class_names: list[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw a random split, stratified by class, with every class in every part.

    A part has ``round(share * N)`` samples. Each class contributes in proportion to its size (by the method of the
    largest remainder), and at least one sample.

    Args:
        y: classes, ``(N,)``, int64.
        shares: share of each part to split off, by its name, each in (0, 1).
        seed: the run's seed; parts of different names draw independently.
        class_names: class names in the order of the labels, for messages.

    Returns:
        Sorted indices of the remaining training part, and of each part.

    Raises:
        UserError: a class has too few samples to be in every part, or a label is out of range.
    """
    check_labels(y, len(class_names), "the labels to be split")
    labels = y.cpu().numpy()
    counts = np.bincount(labels, minlength=len(class_names))
    sizes = {part: _sizes(counts, share) for part, share in shares.items()}
    parts: dict[str, list[np.ndarray]] = {part: [] for part in ("train", *shares)}
    few: dict[str, int] = {}
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        rest = np.random.default_rng(derive_seed(seed, *shares, label)).permutation(members)
        for part, size in sizes.items():
            parts[part].append(rest[: size[label]])
            rest = rest[size[label] :]
        parts["train"].append(rest)
        if len(rest) == 0:
            few[name] = len(members)
    if few:
        least = len(shares) + 1
        # lower shares leave a sample for training only if there is at least one for each part
        lower = " or ".join(f"data.{part}_share" for part in shares)
        merge = (
            "merge it with another class, or leave it out"
            if len(few) == 1
            else "merge them with other classes, or leave them out"
        )
        remedy = merge if min(few.values()) < least else f"or lower {lower}"
        raise UserError(
            f"too few samples for a split into train, {', '.join(shares)} with shares of {list(shares.values())} in "
            f"{listed((f'{name!r} ({count})' for name, count in few.items()), 5)}: a class needs at least {least}; add "
            f"samples, {remedy}"
        )
    indices = {name: torch.from_numpy(np.sort(np.concatenate(members))) for name, members in parts.items()}
    return indices.pop("train"), indices


def _sizes(counts: np.ndarray, share: float) -> np.ndarray:
    """Distribute ``round(share * N)`` samples over the classes by largest remainder, at least one to each."""
    exact = share * counts
    sizes = np.floor(exact).astype(int)
    left = round(share * counts.sum()) - sizes.sum()
    sizes[np.argsort(sizes - exact, kind="stable")[:left]] += 1
    return np.maximum(sizes, 1)


def few_labels(y: Tensor, count: int, seed: int, class_names: list[str]) -> Tensor:
    """Draw a number of samples such that the classes are as balanced as possible.

    Every class contributes the same number of samples; some contribute one more if the number does not divide evenly.
    A class with too few samples contributes all of them, and the others make up the difference. For the same seed, a
    smaller draw is a subset of a larger one.

    Args:
        y: classes, ``(N,)``, int64.
        count: number of samples, from the number of classes to N.
        seed: the run's seed.
        class_names: class names in the order of the labels, for messages.

    Returns:
        Sorted indices, ``(count,)``.

    Raises:
        UserError: ``count`` is below the number of classes, or above the number of samples.
    """
    if not len(class_names) <= count <= len(y):
        raise UserError(
            f"data.labels={count} must be between the number of classes, {len(class_names)}, and the number of "
            f"training samples, {len(y):,}; set it to null for all samples"
        )
    labels = y.cpu().numpy()
    sizes = np.bincount(labels, minlength=len(class_names))
    level = count // len(class_names)
    while level < sizes.max() and np.minimum(sizes, level + 1).sum() <= count:
        level += 1
    quotas = np.minimum(sizes, level)
    order = np.random.default_rng(derive_seed(seed, "labels")).permutation(len(class_names))
    quotas[[label for label in order if sizes[label] > level][: count - quotas.sum()]] += 1
    drawn = [
        np.random.default_rng(derive_seed(seed, "labels", label)).permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(quotas)
    ]
    return torch.from_numpy(np.sort(np.concatenate(drawn)))


def few_in_strata(strata: Tensor | None, total: int, count: int, seed: int) -> Tensor:
    """Draw a stratified random sample; for the same seed, a smaller draw is a subset of a larger one.

    Args:
        strata: number of each sample's stratum, ``(N,)`` int64; None for a simple random sample.
        total: number of samples N.
        count: number of samples to draw, from 1 to N.
        seed: the run's seed.

    Returns:
        Sorted indices, ``(count,)``.

    Raises:
        UserError: ``count`` is not in 1..N.
    """
    if not 1 <= count <= total:
        raise UserError(f"data.labels={count} must be between 1 and the number of training samples, {total:,}")
    order = np.random.default_rng(derive_seed(seed, "labels")).permutation(total)
    if strata is not None:
        groups = strata.cpu().numpy()[order]
        place = np.empty(total)
        for group in np.unique(groups):  # spreads each stratum's samples evenly over the order
            here = np.flatnonzero(groups == group)
            place[here] = (np.arange(len(here)) + 0.5) / len(here)
        order = order[np.argsort(place, kind="stable")]
    return torch.from_numpy(np.sort(order[:count]))


def split_in_three(
    samples: Samples, val_share: float, test_share: float, seed: int, class_names: list[str]
) -> dict[str, Samples]:
    """Split a set into training, validation and test, stratified by class (see :func:`hold_out`).

    Args:
        samples: labelled samples.
        val_share: share of all samples for validation.
        test_share: share of all samples for test.
        seed: the run's seed.
        class_names: class names in the order of the labels, for messages.

    Returns:
        The sets ``train``, ``val`` and ``test``.

    Raises:
        UserError: a class has too few samples to be in every part.
    """
    assert samples.y is not None
    train, parts = hold_out(samples.y, {"val": val_share, "test": test_share}, seed, class_names)
    return {"train": samples.subset(train), **{name: samples.subset(index) for name, index in parts.items()}}


def random_split(count: int, held_out: int, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Draw a random split that does not depend on labels, as required for a target domain.

    Args:
        count: total number of samples.
        held_out: number of samples in the second part.
        seed: the run's seed.
        name: name of the split.

    Returns:
        Sorted indices of the first and of the second part.

    Raises:
        UserError: ``held_out`` is not in 1..count - 1.
    """
    if not 0 < held_out < count:
        raise UserError(
            f"cannot hold out {held_out} of {count} samples for the {name} split: choose a number between 1 and "
            f"{count - 1}"
        )
    order = torch.from_numpy(np.random.default_rng(derive_seed(seed, name)).permutation(count))
    return order[held_out:].sort().values, order[:held_out].sort().values


def group_split(groups: Tensor, shares: Mapping[str, float], seed: int, what: str) -> dict[str, Tensor]:
    """Draw a random split in which the samples of a group are all in the same part.

    Groups are added to each part until it has its share of the samples, rounded; the remaining groups are ``train``.

    Args:
        groups: number of each sample's group, ``(N,)`` int64.
        shares: share of each part to split off, by its name, each in (0, 1).
        seed: the run's seed.
        what: kind of the groups, in the plural, for the message.

    Returns:
        Sorted indices of ``train`` and of each part.

    Raises:
        UserError: there are too few groups for a part.
    """
    numbers, sizes = np.unique(groups.cpu().numpy(), return_counts=True)
    order = np.random.default_rng(derive_seed(seed, "groups", *shares)).permutation(len(numbers))
    part_of, place = np.full(len(numbers), "train", dtype=object), 0
    for part, share in shares.items():
        wanted, taken = max(1, round(share * len(groups))), 0
        while taken < wanted and place < len(order):
            part_of[order[place]], taken, place = part, taken + sizes[order[place]], place + 1
    if place >= len(order):
        raise UserError(f"{len(numbers)} {what} are too few for training and {', '.join(shares)}: lower the shares")
    of_sample = part_of[np.searchsorted(numbers, groups.cpu().numpy())]
    return {part: torch.from_numpy(np.flatnonzero(of_sample == part)) for part in ("train", *shares)}


def of_classes(samples: Samples, classes: Tensor) -> Samples:
    """Select the samples of some classes, and renumber these from 0 in the given order.

    Args:
        samples: labelled samples.
        classes: the classes, ``(C,)``, int64, without repetition.
    """
    assert samples.y is not None
    number = torch.full((1 + max(int(samples.y.max()), int(classes.max())),), -1)
    number[classes] = torch.arange(len(classes))
    kept = samples.subset((number[samples.y] >= 0).nonzero()[:, 0])
    assert kept.y is not None
    return replace(kept, y=number[kept.y])
