"""GPUs of a machine, shared out among the jobs of a sweep."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

__all__ = ["free_place", "gpu_at", "gpus", "takes_one_gpu"]


def gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Name the GPUs that jobs may use, as ``CUDA_VISIBLE_DEVICES`` does; asks the driver without starting CUDA.

    Args:
        environment: names those that this process may use, where it does not have all.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def free_place(taken: Collection[int]) -> int:
    """Give the lowest number that is not taken."""
    return next(place for place in range(len(taken) + 1) if place not in taken)


def gpu_at(place: int, names: Sequence[str]) -> str | None:
    """Choose the GPU of the job at a place among those that run at the same time.

    Args:
        place: counted from 0.
        names: of the GPUs.

    Returns:
        Its name; None where there is nothing to choose.
    """
    return names[place % len(names)] if len(names) > 1 else None


def takes_one_gpu(trainer: Mapping[str, Any]) -> bool:
    """Whether a trainer's configuration asks for one GPU, whichever it is."""
    return trainer.get("accelerator") in ("gpu", "cuda") and trainer.get("devices") in (1, "1")
