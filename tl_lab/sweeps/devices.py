"""Assignment of a machine's GPUs to the jobs of a sweep."""

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

__all__ = ["free_place", "gpu_at", "gpus", "takes_one_gpu"]


def gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the GPUs available to jobs, in the format of ``CUDA_VISIBLE_DEVICES``, without initialising CUDA.

    Args:
        environment: environment variables, which may restrict the GPUs of this process.
    """
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def free_place(taken: Collection[int]) -> int:
    """Return the lowest number that is not taken."""
    return next(place for place in range(len(taken) + 1) if place not in taken)


def gpu_at(place: int, names: Sequence[str]) -> str | None:
    """Choose the GPU of a job by its position among the concurrent jobs.

    Args:
        place: position, counted from 0.
        names: names of the GPUs.

    Returns:
        Name of the GPU; None if there is at most one.
    """
    return names[place % len(names)] if len(names) > 1 else None


def takes_one_gpu(trainer: Mapping[str, Any]) -> bool:
    """Whether a trainer's configuration requests one GPU without specifying which."""
    return trainer.get("accelerator") in ("gpu", "cuda") and trainer.get("devices") in (1, "1")
