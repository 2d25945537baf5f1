"""Errors of libraries, and damaged files: one sentence, and never wrong numbers."""

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from tl_lab.errors import UserError
from tl_lab.run.checkpoints import read_checkpoint
from tl_lab.run.mishaps import explained


def raised(function) -> BaseException:
    """Return what a function raises."""
    with pytest.raises(Exception) as found:  # noqa: PT011
        function()
    return found.value


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (lambda: nn.Linear(10**9, 10**9), "there is not enough memory"),
        (lambda: torch.empty(2**62, dtype=torch.float64), "there is not enough memory"),
        (lambda: nn.BatchNorm1d(3)(torch.zeros(1, 3)), "batch-norm cannot normalise a training batch of one sample"),
        (
            lambda: nn.Linear(2, 3).load_state_dict(nn.Linear(3, 3).state_dict()),
            "the checkpoint does not match the networks",
        ),
        (lambda: nn.Conv2d(1, 1, 5)(torch.zeros(1, 1, 3, 3)), "the images are too small for the backbone"),
    ],
)
def test_what_a_library_raises_is_explained(cause, message):
    found = explained(raised(cause))
    assert isinstance(found, UserError)
    assert str(found).startswith(message)
    assert "\n" not in str(found)


def test_a_full_disk_is_explained():
    assert "the disk is full (a.csv)" in str(explained(OSError(errno.ENOSPC, "No space left on device", "a.csv")))


@pytest.mark.parametrize("error", [UserError("said already"), ValueError("a bug"), RuntimeError("a bug"), KeyError(1)])
def test_other_errors_keep_their_traceback(error):
    assert explained(error) is None


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7])
def test_a_flipped_bit_in_a_checkpoint_is_found(place: float, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"weight": torch.randn(100, 100)}, "updates_done": 3}, path)
    assert read_checkpoint(path)["updates_done"] == 3
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="it is damaged or not a checkpoint of a run"):
        read_checkpoint(path)
