"""How many epochs a run has: as many as are configured, or as many as its number of updates takes."""

import math

from tl_lab.data.base import DataModule
from tl_lab.run.plan import Plan

__all__ = ["batches_within", "epochs_of"]


def epochs_of(plan: Plan, data: DataModule) -> int:
    """Count the epochs of a run, of a stream those of all tasks.

    Args:
        plan: of the run.
        data: which were read.

    Returns:
        At least 1. Where ``trainer.max_updates`` is given, the last epoch may have fewer batches than the others.
    """
    if plan.max_updates is None:
        return data.total_epochs_for(plan.max_epochs or 1)
    batches = batches_within(len(data.train_dataloader()), plan.trainer.option("limit_train_batches"))
    updates = -(-batches // plan.update["accumulate_batches"])
    return math.ceil(plan.max_updates / max(1, updates))


def batches_within(batches: int, limit: float | None) -> int:
    """Count the batches of an epoch as Lightning does: all, a share of them (a float), or at most a number (an int)."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)
