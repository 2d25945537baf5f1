"""Finding checkpoints of a run, and reading them as data."""

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
    """Write checkpoints atomically: neither a kill nor a full disk damages the previous one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write to a temporary file, then rename it.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        # via memory: torch's own writer would keep a file open on a full disk, and occupy its space
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
        advice: remedy for an unreadable file.

    Raises:
        UserError: the file is missing, damaged, or not a checkpoint of tl_lab.
    """
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise ValueError("not a regular file")
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        return {**content, "state_dict": content["state_dict"], "updates_done": content["updates_done"]}
    except Exception as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file" if missing else "it is damaged or not a checkpoint of a run"
        raise UserError(f"cannot read {path}: {reason} ({type(error).__name__}); {advice}") from error


def _check_sums(path: Path) -> None:
    """Verify the parts of a checkpoint, which is a zip archive, by its checksums, which PyTorch does not check."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} differs from what was written")


def restore_problem(problem: Problem, checkpoint: Mapping[str, Any]) -> None:
    """Restore the state of the problem; checkpoints of the first version have none."""
    if state := checkpoint["model"].get("problem"):
        problem.load_state(state)


def checkpoint_of(run_folder: Path, which: str | None = None) -> Path:
    """Return the path of a run's checkpoint.

    Args:
        run_folder: the run's folder.
        which: ``best`` or ``last``; None for the one that the run tested.

    Raises:
        UserError: the folder contains no run.
    """
    evaluate = read_stored(run_folder, ("evaluate",)).evaluate
    if evaluate not in ("last", "best"):
        raise UserError(f"{run_folder / 'config.yaml'} is not the configuration of a run: evaluate is {evaluate!r}")
    chosen = which or ("last" if _is_untrained(run_folder) else evaluate)
    return run_folder / "checkpoints" / f"{chosen}.ckpt"


def _is_untrained(run_folder: Path) -> bool:
    """Whether a run trained nothing, according to its record: it has one checkpoint, whatever ``evaluate`` is."""
    with contextlib.suppress(UserError):
        return str(read_results(run_folder).get("tested_checkpoint")).startswith("untrained")
    return False


def last_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint from which an interrupted run resumes; None if it has not written one."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.exists() else None


def is_trained(content: dict[str, Any], epochs: int) -> bool:
    """Whether a checkpoint marks the end of training: all of ``epochs`` completed, or stopped early."""
    return has_stopped(content) or content["epoch"] + 1 >= epochs


def has_stopped(content: Mapping[str, Any]) -> bool:
    """Whether early stopping has ended the training of a checkpoint."""
    waited = [state for name, state in content["callbacks"].items() if name.startswith("EarlyStopping")]
    return any(state["wait_count"] >= state["patience"] for state in waited)
