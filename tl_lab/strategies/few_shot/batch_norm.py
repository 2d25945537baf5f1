"""Whose statistics batch-norm uses when an episode is tested."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tl_lab.errors import UserError

__all__ = ["batch_statistics", "check_test_statistics"]


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Let batch-norm normalise by the batch at hand for a while, and leave running statistics and modes alone."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, (training, tracks) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracks


def check_test_statistics(value: str) -> str:
    """Refuse an unknown choice of statistics.

    Raises:
        UserError: it is neither of the two.
    """
    if value not in ("running", "transductive"):
        raise UserError(f"strategy.batch_norm is 'running' or 'transductive', not {value!r}")
    return value
