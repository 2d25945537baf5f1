"""Warning signs in a finished run: a diverged loss, scores at chance level, few updates."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tl_lab.texts import counted

if TYPE_CHECKING:
    from tl_lab.problems import Problem

__all__ = ["at_chance", "exploded", "too_short"]

_FEW = 20  # updates; an optimizer's averages and a new head are hardly settled after fewer
_FEW_AT_CHANCE = 100  # updates; a run with fewer that has learned nothing was probably too short
_LOSS = 1e4  # training has diverged above this multiple of the first loss (or of 1 if the first loss is smaller)


def exploded(rows: Sequence[Mapping[str, float]]) -> str:
    """Warn if the training loss grew without bound, even if it decreased again.

    Args:
        rows: logged values by name, in order, as in ``metrics.csv``.

    Returns:
        A warning; empty if the loss did not grow without bound.
    """
    losses = [(row["train/loss"], row.get("step")) for row in rows if "train/loss" in row]
    if not losses:
        return ""
    worst, step = max(losses, key=lambda one: math.inf if math.isnan(one[0]) else one[0])
    if not (worst > _LOSS * max(1.0, losses[0][0])):  # a loss of NaN ends the run anyway
        return ""
    where = "" if step is None else f" at update {int(step)}"
    return f"the training loss reached {worst:.0e}{where}: lower optimizer.lr, or set update.gradient_clip_norm=1"


def at_chance(metrics: Mapping[str, float], sizes: Mapping[str, int], problem: "Problem") -> list[str]:
    """List test scores at chance level (see :meth:`tl_lab.problems.Problem.at_chance`).

    Args:
        metrics: test metrics by name, such as ``test/target/balanced_acc``.
        sizes: number of samples of each test set, by the first part of these names: ``test/target``.
        problem: the data's prediction problem.

    Returns:
        One sentence per set.
    """
    warnings = []
    for tested, samples in sizes.items():
        scores = {
            name.rpartition("/")[2]: value for name, value in metrics.items() if name.rpartition("/")[0] == tested
        }
        where = "the test set" if tested == "test" else f"the test set of {tested.removeprefix('test/')}"
        warnings.append(problem.at_chance(scores, where, samples))
    return [warning for warning in warnings if warning]


def too_short(updates: int, at_chance: bool = False, tasks: int = 1) -> str:
    """Suggest more updates for a run that made few of them.

    Few are less than 20 for each task, or 100 if scores are at chance level.

    Args:
        updates: number of updates of the run.
        at_chance: whether scores are at chance level.
        tasks: number of tasks that were trained one after the other.

    Returns:
        A warning; empty if there were enough updates.
    """
    each = updates // tasks
    if each >= (_FEW_AT_CHANCE if at_chance else _FEW):
        return ""
    made = counted(each, "update") + (" for each task" if tasks > 1 else "")
    return f"the run made only {made}: raise trainer.max_epochs or trainer.max_updates"
