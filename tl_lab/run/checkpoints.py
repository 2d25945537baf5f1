"""A run's checkpoints: found, and read as data."""

import contextlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from tl_lab.config.stored import read_stored
from tl_lab.errors import UserError
from tl_lab.problems import Problem
from tl_lab.results.folder.files import read_results, replacing

__all__ = [
    "WholeCheckpoints",
    "checkpoint_of",
    "has_stopped",
    "is_trained",
    "last_checkpoint",
    "read_checkpoint",
    "restore_problem",
]


class WholeCheckpoints(TorchCheckpointIO):
    """Write checkpoints whole or not at all: neither a kill nor a full disk damages the one that was there."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside, then rename.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        # by way of memory: torch's own writer would hold a file on a full disk open, and its space with it
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        # a copy: a view of the buffer, left in a traceback, crashes the garbage collector of Python 3.12.1
        content = buffer.getvalue()
        with replacing(path) as beside:
            beside.write_bytes(content)


def read_checkpoint(path: Path, advice: str = "use another checkpoint") -> dict[str, Any]:
    """Read a checkpoint as data.

    Args:
        path: of the file.
        advice: what to do where it cannot be read.

    Raises:
        UserError: the file is missing, damaged, or not one of ours.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise ValueError("not a regular file")
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {**content, "state_dict": content["state_dict"], "updates_done": content["updates_done"]}
    except Exception as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else "it is damaged or not a checkpoint of a run"
        raise UserError(f"cannot read {path}: {reason} ({type(error).__name__}); {advice}") from error


def _check_sums(path: Path) -> None:
    """Compare the parts of a checkpoint, which is a zip archive, with the sums kept in it: PyTorch reads past them."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} differs from what was written")


def restore_problem(problem: Problem, checkpoint: Mapping[str, Any]) -> None:
    """Take up what a checkpoint keeps of the problem; those of the first version keep nothing."""
    if state := checkpoint["model"].get("problem"):
        problem.load_state(state)


def checkpoint_of(run_folder: Path, which: str | None = None) -> Path:
    """Find a run's checkpoint.

    Args:
        run_folder: the run's folder.
        which: ``best`` or ``last``; None for the one that the run tested.

    Raises:
        UserError: the folder holds no run.
    """
    evaluate = read_stored(run_folder, ("evaluate",)).evaluate
    if evaluate not in ("last", "best"):
        raise UserError(f"{run_folder / 'config.yaml'} is not the configuration of a run: evaluate is {evaluate!r}")
    chosen = which or ("last" if _is_untrained(run_folder) else evaluate)
    return run_folder / "checkpoints" / f"{chosen}.ckpt"


def _is_untrained(run_folder: Path) -> bool:
    """Whether a run says that it trained nothing: it has one checkpoint, whatever its configuration would test."""
    with contextlib.suppress(UserError):
        return str(read_results(run_folder).get("tested_checkpoint")).startswith("untrained")
    return False


def last_checkpoint(folder: Path) -> Path | None:
    """Find the checkpoint that an interrupted run goes on from; None if it did not get so far."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.exists() else None


def is_trained(content: dict[str, Any], epochs: int) -> bool:
    """Whether a checkpoint stands at the end of training: all of so many epochs done, or stopped early."""
    return has_stopped(content) or content["epoch"] + 1 >= epochs


def has_stopped(content: Mapping[str, Any]) -> bool:
    """Whether early stopping has ended the training of a checkpoint."""
    waited = [state for name, state in content["callbacks"].items() if name.startswith("EarlyStopping")]
    return any(state["wait_count"] >= state["patience"] for state in waited)
