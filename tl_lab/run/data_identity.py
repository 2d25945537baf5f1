"""Checks that a resumed run uses the data with which it started."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from tl_lab.config import to_plain
from tl_lab.config.instantiate import locate
from tl_lab.data.base import DataModule
from tl_lab.data.roots import absolute_places
from tl_lab.errors import UserError
from tl_lab.results.folder.files import RESULTS, read_results
from tl_lab.results.folder.record import Record

__all__ = ["RESTART", "check_beside", "forget", "has_changed", "use_places"]

RESTART = "restart"
"""The value of ``changed_data`` with which a run restarts on changed data."""
_ADVICE = "restore the data, or set changed_data=restart"
# files that a run writes during training, besides results.json, config.yaml and its log
_WRITTEN = (
    "checkpoints", "figures", "predictions", "reverse", "wandb",
    "metrics.csv", "episodes.csv", "accuracy_matrix.csv", "within_task_accuracy_matrix.csv",
    "lr_find.csv",
)  # fmt: skip


def use_places(
    cfg: DictConfig, stored: Mapping[str, Any], given: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Find the folders and files of the data in a configuration; a resumed run reads data from the recorded ones.

    Args:
        cfg: of the run; for a resumed run, recorded places that still exist replace those of the configuration.
        stored: ``data_places`` of the record of a resumed run; empty for a new one.
        given: folders or files that the user specifies now, by key.

    Returns:
        For each such option, by its key (``data.root``): the value ``given``, and the absolute path ``used``.

    Raises:
        UserError: a key of ``given`` is not a folder or file of these data.
    """
    nodes = list(_nodes("data", to_plain(cfg)["data"]))
    places = {
        f"{key}.{option}": {"given": node.get(option), "used": used}
        for key, kind, node in nodes
        for option, used in kind.places_for(node).items()
    }
    if unknown := [key for key in given or () if key not in places]:
        keys = ", ".join(places) or "none, because these data are not read from disk"
        raise UserError(
            f"resume: {unknown[0]} is not a folder or file of this run's data; only these can be changed: {keys}"
        )
    for key, place in places.items():
        before = stored.get(key)
        earlier = before if isinstance(before, Mapping) else {}
        place["given"] = earlier.get("given", place["given"])
        used = earlier.get("used") if _is_there(earlier.get("used")) else None
        if given and key in given:
            used = absolute_places(given[key])
        if used is not None:
            place["used"] = used
            with open_dict(cfg):
                OmegaConf.update(cfg, key, used)
    return places


def _nodes(key: str, value: Any) -> Iterator[tuple[str, type[DataModule], dict[str, Any]]]:
    """Yield the data nodes of a configuration, with their keys and classes."""
    if isinstance(value, dict):
        kind = locate(str(value["_target_"])) if "_target_" in value else None
        if isinstance(kind, type) and issubclass(kind, DataModule):
            yield key, kind, value
        for name, item in value.items():
            yield from _nodes(f"{key}.{name}", item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _nodes(f"{key}.{number}", item)


def _is_there(place: Any) -> bool:
    """Whether a recorded place, or each of a list, is an absolute path that exists, not a reference."""
    every = place if isinstance(place, list) else [place]
    texts = [one for one in every if isinstance(one, str) and "${" not in one]
    return (
        bool(every)
        and len(texts) == len(every)
        and all(Path(one).is_absolute() and Path(one).exists() for one in texts)
    )


def has_changed(record: Mapping[str, Any], data: DataModule, restarts: bool) -> bool:
    """Compare the data of a resumed run with those it started with.

    Args:
        record: of the run: the content of its ``results.json``.
        data: as loaded now.
        restarts: whether the run may restart.

    Returns:
        Whether the data differ and the run restarts. Versions that recorded no ``content_hash`` for data on disk
        hashed names and sizes of images; their data are not compared.

    Raises:
        UserError: the data differ, and the run may not restart.
    """
    before, now = record.get("data_hash"), data.fingerprint()
    if before in (None, now) or ("content_hash" not in record and data.content_hash):
        return False
    if not restarts:
        raise UserError(
            f"resume: the data have changed since this run started: their hash was {before} and is {now}; {_ADVICE} to "
            "restart the run"
        )
    return True


def check_beside(record: Record, data: DataModule, sweep: Path) -> None:
    """Refuse data that differ from those of other runs of a sweep, with which this run would be averaged.

    Args:
        record: of the run.
        data: as loaded.
        sweep: the sweep's folder.

    Raises:
        UserError: a completed run of the same configuration, except seed and adaptation, used other data.
    """
    if not data.content_hash:
        return
    own = _compared(record.content)
    for file in sorted(sweep.glob(f"**/{RESULTS}")):
        if file.parent.resolve() == record.folder.resolve():
            continue
        try:
            other = read_results(file.parent)
        except UserError:
            continue
        before = other.get("content_hash", data.content_hash)
        if other.get("status") == "completed" and _compared(other) == own and before != data.content_hash:
            raise UserError(
                f"the data have changed since {os.path.relpath(file.parent)} was made: their content_hash was {before} "
                f"and is {data.content_hash}, and both would be averaged; {_ADVICE} together with sweep.resume=true "
                "to repeat the runs on other data"
            )


def _compared(content: Mapping[str, Any]) -> tuple[Any, ...]:
    places = content.get("data_places") or {}
    return content.get("comparison_key"), sorted((key, str(place.get("given"))) for key, place in places.items())


def forget(folder: Path, record: Record) -> None:
    """Remove the files that a run wrote during training, so that it restarts in its folder."""
    if record.writes:
        for name in _WRITTEN:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    record.restart()
