"""Statistics of batch normalisation in the evaluation of episodes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from tl_lab.errors import UserError

__all__ = ["batch_statistics", "check_test_statistics"]


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Normalise by the statistics of the current batch within a context; running statistics and modes do not change."""
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
        raise UserError(f"strategy.batch_norm must be 'running' or 'transductive', not {value!r}")
    return value
