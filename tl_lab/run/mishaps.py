"""Translation of library errors that are caused by a user's settings."""

import errno

import torch

from tl_lab.errors import UserError

__all__ = ["explained"]

_OUT_OF_MEMORY = (
    "can't allocate memory",
    "out of memory",
    "Storage size calculation overflowed",
    "bad alloc",
)
_ONE_SAMPLE = "Expected more than 1 value per channel when training"
_OTHER_NETWORK = "Error(s) in loading state_dict"
_SHARDED = "got mixed torch.Tensor and DTensor"
_TOO_SMALL = ("Kernel size can't be greater than actual input size", "Output size is too small")


def explained(error: BaseException) -> UserError | None:
    """Explain a library's error in terms of the run's settings.

    Args:
        error: as raised.

    Returns:
        The explanation as an error; None for an error that is not caused by settings.
    """
    text = str(error)
    if isinstance(error, UserError):
        return None
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(sign.lower() in text.lower() for sign in _OUT_OF_MEMORY)
    ):
        return UserError(
            "there is not enough memory: use a smaller backbone (its widths, input_size or resize_to), a smaller "
            "data.batch_size, or fewer samples"
        )
    if isinstance(error, ValueError) and _ONE_SAMPLE in text:
        return UserError(
            "batch-norm cannot normalise a training batch of one sample: set data.batch_size to 2 or more, or use a "
            "backbone without batch-norm"
        )
    if isinstance(error, RuntimeError) and _OTHER_NETWORK in text:
        return UserError(
            "the checkpoint does not match the networks of the configuration: one of them was changed; "
            "restore it, or start a new run"
        )
    if isinstance(error, RuntimeError) and _SHARDED in text:
        return UserError(
            "an option of this run computes with whole parameters, which trainer=fsdp shards: use trainer=ddp"
        )
    if isinstance(error, RuntimeError) and any(sign in text for sign in _TOO_SMALL):
        return UserError(
            f"the images are too small for the backbone ({text.splitlines()[0]}): set backbone.resize_to, or use "
            "another backbone"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"the disk is full ({error.filename or text}): free some space, then use resume=<folder>")
    return None
