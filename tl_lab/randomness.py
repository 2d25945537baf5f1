"""Random streams that do not disturb each other.

Weights, data order, augmentation and dropout each draw from a stream of their own, derived from the run's
seed and a name. Switching an option that draws more numbers in one place then leaves all others alone.
"""

import hashlib

import torch

__all__ = ["derive_seed", "generator"]


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of a named stream from the run's seed.

    Args:
        seed: the run's seed.
        names: what the stream is for, for example ``"order", "source", epoch``.

    Returns:
        An integer in [0, 2**63), the same on every machine and in every process.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Open the named stream as a CPU generator (see :func:`derive_seed`)."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
