"""Whether a run that goes on sees the data that it began with."""

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
"""The value of ``changed_data`` with which a run of other data starts anew."""
_ADVICE = "put the data back, or set changed_data=restart"
# what a run writes while it trains, beside results.json, config.yaml and its log
_WRITTEN = (
    "checkpoints", "figures", "predictions", "reverse", "wandb",
    "metrics.csv", "episodes.csv", "accuracy_matrix.csv", "within_task_accuracy_matrix.csv",
    "lr_find.csv",
)  # fmt: skip


def use_places(
    cfg: DictConfig, stored: Mapping[str, Any], given: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """Find where the data lie that a configuration names; a run that goes on reads them where they were.

    Args:
        cfg: of the run; of one that goes on, folders that were recorded and still exist take the place of what it says.
        stored: ``data_places`` of the record of a run that goes on; empty for a new one.
        given: by key, the folders that the user names now.

    Returns:
        For each option with a folder, by its key (``data.root``): what was ``given``, and the absolute path ``used``.

    Raises:
        UserError: a key of ``given`` names no folder of these data.
    """
    nodes = list(_nodes("data", to_plain(cfg)["data"]))
    places = {
        f"{key}.{option}": {"given": node.get(option), "used": used}
        for key, kind, node in nodes
        for option, used in kind.places_for(node).items()
    }
    if unknown := [key for key in given or () if key not in places]:
        keys = ", ".join(places) or "none, for these data are in no folder"
        raise UserError(f"resume: {unknown[0]} is no folder of this run's data, and nothing else can be given: {keys}")
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
    """Yield the nodes of data in a configuration, with their keys and classes."""
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
    """Whether a recorded place, or every one of a list, is an absolute path to a folder, and no reference."""
    every = place if isinstance(place, list) else [place]
    texts = [one for one in every if isinstance(one, str) and "${" not in one]
    return (
        bool(every)
        and len(texts) == len(every)
        and all(Path(one).is_absolute() and Path(one).is_dir() for one in texts)
    )


def has_changed(record: Mapping[str, Any], data: DataModule, restarts: bool) -> bool:
    """Compare the data of a run that goes on with those that it began with.

    Args:
        record: of the run: the content of its ``results.json``.
        data: as they were read now.
        restarts: the run may start anew.

    Returns:
        Whether they differ, and the run starts anew. Runs of versions that recorded no ``content_hash`` of data on disk
        hashed names and sizes of images: they are not compared.

    Raises:
        UserError: they differ, and it may not.
    """
    before, now = record.get("data_hash"), data.fingerprint()
    if before in (None, now) or ("content_hash" not in record and data.content_hash):
        return False
    if not restarts:
        raise UserError(
            f"resume: the data have changed since this run began: their hash was {before} and is {now}; {_ADVICE} to "
            "start the run anew"
        )
    return True


def check_beside(record: Record, data: DataModule, sweep: Path) -> None:
    """Refuse data that other runs of a sweep, with which this one would be averaged, did not see.

    Args:
        record: of the run.
        data: as they were read.
        sweep: the sweep's folder.

    Raises:
        UserError: a completed run of the same configuration, its seed and adaptation aside, saw other data.
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
                f"and is {data.content_hash}, and both would be averaged; {_ADVICE} beside sweep.resume=true to run "
                "anew what saw other data"
            )


def _compared(content: Mapping[str, Any]) -> tuple[Any, ...]:
    places = content.get("data_places") or {}
    return content.get("comparison_key"), sorted((key, str(place.get("given"))) for key, place in places.items())


def forget(folder: Path, record: Record) -> None:
    """Remove what a run has written of its training, so that it starts anew in its folder."""
    if record.writes:
        for name in _WRITTEN:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    record.restart()
