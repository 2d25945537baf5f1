"""Preparation of a network, and of the machine, for training in several processes."""

import os
import random
import socket
import sys
from typing import cast

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import nn

from tl_lab.errors import UserError
from tl_lab.run.build import Parts
from tl_lab.run.plan import Plan

__all__ = ["choose_port", "free_port", "synchronise_batch_norm"]

_OPTION = "trainer.sync_batchnorm"
# below the ports that Linux (from 32768) and macOS (from 49152) assign to outgoing connections
_PORTS = range(20_000, 32_768)


def choose_port(trainer: pl.Trainer) -> None:
    """Choose the port for the communication of the processes that Lightning starts, unless one was given.

    Lightning would use a port from the range that the system assigns to outgoing connections; until the first process
    listens to it, another job's connection may have been assigned this port.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size > 1 and isinstance(environment, LightningEnvironment):
        os.environ.setdefault("MASTER_PORT", str(free_port()))


def free_port() -> int:
    """Return a random unused port of this machine, from 20000 to 32767.

    Raises:
        UserError: none of a hundred ports is free.
    """
    # not the seeded generator, because runs of equal seeds may start at the same time
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise UserError(
        f"no port from {_PORTS[0]} to {_PORTS[-1]} is free for the processes' communication: set MASTER_PORT"
    )


def synchronise_batch_norm(plan: Plan, parts: Parts, trainer: pl.Trainer) -> None:
    """Synchronise batch normalisation over all processes, if the trainer's configuration requires it.

    Modules keep their identity, parameters and buffers, including those of each domain: only their computation changes.
    With one process or no batch normalisation, nothing is done, unless the option was given on the command line.

    Raises:
        UserError: ``trainer.sync_batchnorm=true`` was given, and there is nothing to synchronise; or a normalisation
            cannot be synchronised.
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
    kinds = [_synchronised(norm) for norm in norms]  # all of them, before any is changed
    for norm, kind in zip(norms, kinds, strict=True):
        norm.__class__ = kind
        norm.process_group = None  # type: ignore[assignment]  # all processes


def _synchronised(norm: nn.modules.batchnorm._BatchNorm) -> type:
    """Return the synchronised class that computes what a normalisation computes.

    Raises:
        UserError: it computes more than batch normalisation, and no synchronised class is known.
    """
    kind = type(norm)
    if kind.forward is nn.modules.batchnorm._BatchNorm.forward:
        return nn.SyncBatchNorm
    if issubclass(kind, nn.SyncBatchNorm):
        return kind
    known = sys.modules.get("timm.layers.norm_act")  # imported if a network is of timm
    if known is not None and kind is known.BatchNormAct2d:  # with the activation that follows
        return cast(type, known.SyncBatchNormAct)
    raise UserError(
        f"{_OPTION}=true cannot synchronise {kind.__name__}, which computes more than batch-norm: set {_OPTION}=false"
    )
