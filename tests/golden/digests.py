"""Records of a run's folder, and their comparison.

Only the files of the folder are read: nothing of tl_lab is imported.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["compare", "digest", "digest_sweep"]

_VARYING = ("versions", "git_commit", "duration_s", "device")  # of results.json: what the clock or the machine says
_VARYING_COLUMNS = ("duration_s", "written", "git_commit", "versions", "device")
_RENAMED = {"source_acc": "source_score", "best_source_acc": "best_source_score"}  # keys of facts, old -> new
_HASHES = ("config_hash", "data_hash", "comparison_key")
_TABLES = ("metrics.csv", "episodes.csv", "accuracy_matrix.csv", "within_task_accuracy_matrix.csv")


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tensor_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Walk the tensors of nested mappings and sequences in their order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)


def _checkpoint(path: Path) -> dict[str, Any]:
    """Return names and values of the weights apart, so that a rename is told from a change of numbers."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    weights = {name: tensor for name, tensor in content["state_dict"].items() if isinstance(tensor, torch.Tensor)}
    optimizer = b"".join(map(_tensor_bytes, _tensors(content.get("optimizer_states"))))
    return {
        "names": list(weights),
        "values": [[str(t.dtype), list(t.shape), _sha(_tensor_bytes(t))] for t in weights.values()],
        "sha256": _sha(b"".join(name.encode() + _tensor_bytes(tensor) for name, tensor in weights.items())),
        "optimizer": _sha(optimizer),
        "progress": {name: content.get(name) for name in ("epoch", "global_step", "updates_done")},
    }


def digest(folder: Path, killed: bool = False) -> dict[str, Any]:
    """Record what a run has written: metrics and facts as they are, tables and weights as SHA-256.

    Args:
        folder: of the run.
        killed: the run was killed and resumed. A kill between a checkpoint and the next write of ``metrics.csv`` loses
            values of that epoch, so this table and what is chosen from its rows depend on the moment of the kill.
    """
    results = json.loads((folder / "results.json").read_text())
    left_out = (*_VARYING, *_HASHES, "metrics", *(["selection"] if killed else []))
    facts = {k: v for k, v in results.items() if k not in left_out}
    if "weights" in facts:  # a checkpoint holds its folder, so the hash of its file differs between folders
        facts["weights"] = {k: v for k, v in facts["weights"].items() if k != "sha256"}
    if "health" in facts:
        facts["health"] = {k: v for k, v in facts["health"].items() if k != "seconds"}
    tables = [name for name in _TABLES if (folder / name).exists() and not (killed and name == "metrics.csv")]
    return {
        "metrics": results.get("metrics"),
        "hashes": {name: results.get(name) for name in _HASHES},
        "tables": {name: _sha((folder / name).read_bytes()) for name in tables},
        "checkpoints": {path.stem: _checkpoint(path) for path in sorted((folder / "checkpoints").glob("*.ckpt"))},
        "facts": facts,
    }


def digest_sweep(folder: Path) -> dict[str, Any]:
    """Record a sweep: its table without times, versions and machine, and each of its runs."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in _VARYING_COLUMNS} for row in csv.DictReader(file)]
    runs = {path.parent.name: digest(path.parent) for path in sorted(folder.glob("*/results.json"))}
    return {"rows": rows, "summary": _summary(folder / "summary.md"), "jobs": runs}


def _summary(path: Path) -> list[str]:
    """Return the lines of the summary without the last column of its tables (the duration) and the line on the code."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("Code: ")]
    timed = any(line.startswith("|") and line.rstrip("| ").endswith("duration") for line in lines)
    return [line.rstrip("|").rpartition("|")[0] if timed and line.startswith("|") else line for line in lines]


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Report each difference of two records of one run, a line each, beginning with the path of what differs.

    A later revision may record further facts; that is no difference.
    """
    return [
        text for text in _differences("", before, after) if not (".facts." in f".{text}" and text.endswith("only now"))
    ]


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if "names" in old and "values" in old and "names" in new and "values" in new:
            yield from _weight_differences(path, old, new)
            old, new = ({k: r[k] for k in ("optimizer", "progress")} for r in (old, new))
        old = {_RENAMED.get(key, key): value for key, value in old.items()}
        for key in {**old, **new}:
            where = f"{path}.{key}" if path else key
            if key not in old or key not in new:
                yield f"{where}: only {'before' if key in old else 'now'}"
            else:
                yield from _differences(where, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{path}[{number}]", one, other)
    elif old != new or type(old) is not type(new):
        yield f"{path}: {old!r} and now {new!r}"


def _weight_differences(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Tell renamed tensors, reordered tensors and changed numbers apart."""
    before, after = (dict(zip(r["names"], r["values"], strict=True)) for r in (old, new))
    changed = [name for name in before if name in after and before[name] != after[name]]
    if changed:
        shown = ", ".join(changed[:4])
        yield f"{path}.values: {len(changed)} of {len(before)} tensors differ in their numbers: {shown}"
    gone, come = [n for n in before if n not in after], [n for n in after if n not in before]
    if sorted(map(str, (before[n] for n in gone))) == sorted(map(str, (after[n] for n in come))):
        if gone:
            yield f"{path}.names: {len(gone)} tensors renamed, their numbers the same: {gone[:4]} and now {come[:4]}"
        elif list(before) != list(after):
            yield f"{path}.names: the same tensors in another order"
    else:
        yield f"{path}.names: {gone[:4]} ({len(gone)}) only before, {come[:4]} ({len(come)}) only now"
