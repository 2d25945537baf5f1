"""Number of epochs of a run: as configured, or derived from the number of updates."""

import math

from tl_lab.data.base import DataModule
from tl_lab.run.plan import Plan

__all__ = ["batches_within", "epochs_of"]


def epochs_of(plan: Plan, data: DataModule) -> int:
    """Return the number of epochs of a run; for a stream, of all tasks together.

    Args:
        plan: of the run.
        data: as loaded.

    Returns:
        At least 1. With ``trainer.max_updates``, the last epoch may have fewer batches than the others.
    """
    if plan.max_updates is None:
        return data.total_epochs_for(plan.max_epochs or 1)
    batches = batches_within(len(data.train_dataloader()), plan.trainer.option("limit_train_batches"))
    updates = -(-batches // plan.update["accumulate_batches"])
    return math.ceil(plan.max_updates / max(1, updates))


def batches_within(batches: int, limit: float | None) -> int:
    """Return the batches per epoch as Lightning does: all, a share of them (a float), or a maximum (an int)."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)
