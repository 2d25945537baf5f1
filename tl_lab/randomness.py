"""Random streams that do not disturb each other.

Weights, data order, augmentation and dropout each draw from a stream of their own, derived from the run's
seed and a name. Switching an option that draws more numbers in one place then leaves all others alone.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["derive_seed", "generator", "open_streams", "separate_stream"]


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the seed of a named stream from the run's seed.

    Args:
        seed: the run's seed.
        names: the purpose of the stream, for example ``"order", "source", epoch``.

    Returns:
        An integer in [0, 2**63), the same on every machine and in every process.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Open the named stream as a CPU generator (see :func:`derive_seed`)."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def separate_stream(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from a stream of one's own for a while, and leave the global one as it was.

    Args:
        seed: of the stream (see :func:`derive_seed`).
        device: on which numbers are drawn, in addition to the CPU.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        open_streams(seed, device)
        yield


def open_streams(seed: int, device: torch.device | str = "cpu") -> None:
    """Seed the global stream of the CPU, and that of one other device.

    The numbers are those of ``torch.manual_seed``, which reaches for every kind of device: on those that nothing has
    used yet each call is kept with its traceback, for ever, and a device that is not asked for loses its state.

    Args:
        seed: of the streams (see :func:`derive_seed`).
        device: on which numbers are drawn, in addition to the CPU.
    """
    device = torch.device(device)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        getattr(torch, device.type).manual_seed(seed)
