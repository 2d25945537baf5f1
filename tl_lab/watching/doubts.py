"""Warning signs in a finished run: a diverged loss, scores at chance level."""

import math
from collections.abc import Mapping, Sequence

__all__ = ["at_chance", "exploded"]

_LOSS = 1e4  # factor of the first loss (or of 1, if that is smaller) from which on training has diverged
_DEVIATIONS = 2.0  # above chance, still counted as chance


def exploded(rows: Sequence[Mapping[str, float]]) -> str:
    """Warn if the training loss grew without bound, even if it decreased again.

    Args:
        rows: logged values by name, in order, as in ``metrics.csv``.

    Returns:
        A sentence; empty if it did not.
    """
    losses = [(row["train/loss"], row.get("step")) for row in rows if "train/loss" in row]
    if not losses:
        return ""
    worst, step = max(losses, key=lambda one: math.inf if math.isnan(one[0]) else one[0])
    if not (worst > _LOSS * max(1.0, losses[0][0])):  # NaN ends a run anyway
        return ""
    where = "" if step is None else f" at update {int(step)}"
    return f"the training loss reached {worst:.0e}{where}: lower optimizer.lr, or set update.gradient_clip_norm=1"


def at_chance(metrics: Mapping[str, float], sizes: Mapping[str, int], num_classes: int) -> list[str]:
    """List test scores at chance level.

    The mean recall of random guessing is p = 1 / C with a deviation of sqrt(p (1 - p) / n) on n samples of balanced
    classes; up to two deviations above count as chance. R² is compared with 0, AUROC with .5.

    Args:
        metrics: of the test, by name: ``test/target/balanced_acc``.
        sizes: samples of the test sets, by the first parts of these names: ``test/target``.
        num_classes: C.

    Returns:
        One sentence per set.
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
            said.append(f"the balanced accuracy on {where}, {value:.1%}, is at chance level for {num_classes} classes")
        elif metric == "auroc" and value <= 0.5:
            said.append(f"the AUROC on {where}, {value:.1%}, is at chance level")
        elif metric == "r2" and value <= 0:
            said.append(f"R² on {where}, {value:.2f}, is no better than predicting the mean")
    return said
