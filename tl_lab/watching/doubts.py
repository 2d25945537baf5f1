"""What of a finished run should make its reader doubt it: a loss that exploded, scores that guessing would reach."""

import math
from collections.abc import Mapping, Sequence

__all__ = ["at_chance", "exploded"]

_LOSS = 1e4  # times the first loss (or 1, where that is smaller) from which on training has exploded
_DEVIATIONS = 2.0  # above chance that a score may lie by luck


def exploded(rows: Sequence[Mapping[str, float]]) -> str:
    """Say that the training loss grew without bound, though it may have come back.

    Args:
        rows: logged values by name, in order, as ``metrics.csv`` has them.

    Returns:
        A sentence; empty where it did not.
    """
    losses = [(row["train/loss"], row.get("step")) for row in rows if "train/loss" in row]
    if not losses:
        return ""
    worst, step = max(losses, key=lambda one: math.inf if math.isnan(one[0]) else one[0])
    if not (worst > _LOSS * max(1.0, losses[0][0])):  # NaN ends a run by itself
        return ""
    where = "" if step is None else f" at update {int(step)}"
    return f"the training loss reached {worst:.0e}{where}: lower optimizer.lr, or set update.gradient_clip_norm=1"


def at_chance(metrics: Mapping[str, float], sizes: Mapping[str, int], num_classes: int) -> list[str]:
    """Say which test scores are those of guessing.

    Guesses have a mean recall of p = 1 / C with a deviation of sqrt(p (1 - p) / n) on n samples, of classes of equal
    size; up to two deviations above count as chance. R² is held against 0, AUROC against .5.

    Args:
        metrics: of the test, by name: ``test/target/balanced_acc``.
        sizes: samples of the test sets, by the first parts of these names: ``test/target``.
        num_classes: C.

    Returns:
        A sentence a set.
    """
    said = []
    for name, value in metrics.items():
        tested, _, metric = name.rpartition("/")
        if tested not in sizes:
            continue
        where = "the test set" if tested == "test" else f"the test set of {tested.removeprefix('test/')}"
        p = 1 / max(2, num_classes)
        deviation = math.sqrt(p * (1 - p) / max(1, sizes[tested]))
        if metric == "balanced_acc" and value <= p + _DEVIATIONS * deviation:
            said.append(f"the balanced accuracy on {where}, {value:.1%}, is what guessing among {num_classes} gives")
        elif metric == "auroc" and value <= 0.5:
            said.append(f"the AUROC on {where}, {value:.1%}, is no better than guessing")
        elif metric == "r2" and value <= 0:
            said.append(f"R² on {where}, {value:.2f}, is no better than predicting the mean")
    return said
