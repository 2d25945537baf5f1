"""Preparation of a network for training in several processes."""

import pytorch_lightning as pl
from torch import nn

from tl_lab.errors import UserError
from tl_lab.run.build import Parts
from tl_lab.run.plan import Plan

__all__ = ["synchronise_batch_norm"]

_OPTION = "trainer.sync_batchnorm"


def synchronise_batch_norm(plan: Plan, parts: Parts, trainer: pl.Trainer) -> None:
    """Synchronise batch normalisation over all processes, if the trainer's configuration requires it.

    Modules keep their identity, parameters and buffers, including those of each domain: only their computation changes.
    With one process or no batch normalisation, nothing is done, unless the option was given on the command line.

    Raises:
        UserError: ``trainer.sync_batchnorm=true`` was given, and there is nothing to synchronise.
    """
    if not plan.trainer.option("sync_batchnorm"):
        return
    norms = [module for module in parts.strategy.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    given = any(text.lstrip("+").startswith(f"{_OPTION}=") for text in plan.overrides)
    if given and (not norms or trainer.world_size == 1):
        reason = "the network has no batch-norm" if not norms else "there is one process"
        raise UserError(f"{_OPTION}=true has nothing to synchronise, because {reason}: leave it out")
    if trainer.world_size == 1:
        return
    if norms and trainer.strategy.root_device.type == "cpu":
        raise UserError(f"{_OPTION}=true needs GPUs: set {_OPTION}=false to let each process use its own statistics")
    for norm in norms:
        norm.__class__ = nn.SyncBatchNorm
        norm.process_group = None  # type: ignore[assignment]  # all processes
